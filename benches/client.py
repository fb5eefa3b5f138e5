"""As much of PostgreSQL's protocol as the benchmark's own loads need, over blocking sockets."""
import base64, hashlib, hmac, os, socket, ssl, struct, sys, time

USER, DATABASE, PASSWORD = "postgres", "postgres", "bench"
SALT, ITERATIONS = b"howdah-benchmark", 4096
STATEMENTS = [f"SELECT abalance + {k} FROM pgbench_accounts WHERE aid = $1".encode() for k in range(5)]


def salted(salt, iterations, memo={}):
    key = (salt, iterations)
    if key not in memo:
        memo[key] = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, iterations)
    return memo[key]


def mac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


def verifier():
    """The user's secret as pg_authid and userlist files hold it."""
    base = salted(SALT, ITERATIONS)
    stored = hashlib.sha256(mac(base, b"Client Key")).digest()
    b64 = lambda x: base64.b64encode(x).decode()
    return f"SCRAM-SHA-256${ITERATIONS}:{b64(SALT)}${b64(stored)}:{b64(mac(base, b'Server Key'))}"


def frame(tag, body=b""):
    return tag + struct.pack("!i", len(body) + 4) + body


class Refused(Exception):
    """The server answered with an error."""


class Client:
    def __init__(self, port, tls=False):
        self.buf = b""
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock.sendall(struct.pack("!ii", 8, 80877103))
            if self.sock.recv(1) != b"S":
                raise Refused("no TLS")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)
        body = struct.pack("!i", 196608) + f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
        self.sock.sendall(struct.pack("!i", len(body) + 4) + body)
        self.login()

    def message(self):
        while True:
            if len(self.buf) >= 5:
                size = struct.unpack_from("!i", self.buf, 1)[0] + 1
                if len(self.buf) >= size:
                    tag, body, self.buf = self.buf[:1], self.buf[5:size], self.buf[size:]
                    return tag, body
            more = self.sock.recv(65536)
            if not more:
                raise Refused("connection closed")
            self.buf += more

    def login(self):
        while True:
            tag, body = self.message()
            if tag == b"R":
                self.authenticate(struct.unpack_from("!i", body)[0], body[4:])
            elif tag == b"E":
                raise Refused(body.decode(errors="replace"))
            elif tag == b"Z":
                return

    def authenticate(self, kind, data):
        if kind == 10:
            self.nonce = base64.b64encode(os.urandom(18))
            first = b"n,,n=,r=" + self.nonce
            self.sock.sendall(frame(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first))
        elif kind == 11:
            fields = dict((p[:1], p[2:]) for p in data.split(b","))
            base = salted(base64.b64decode(fields[b"s"]), int(fields[b"i"]))
            last = b"c=biws,r=" + fields[b"r"]
            text = b",".join((b"n=,r=" + self.nonce, data, last))
            key = mac(base, b"Client Key")
            sign = mac(hashlib.sha256(key).digest(), text)
            proof = bytes(a ^ b for a, b in zip(key, sign))
            self.sock.sendall(frame(b"p", last + b",p=" + base64.b64encode(proof)))
        elif kind == 3:
            self.sock.sendall(frame(b"p", PASSWORD.encode() + b"\0"))
        elif kind not in (0, 12):
            raise Refused(f"authentication method {kind} is not in this client")

    def rest(self):
        """Reads up to ReadyForQuery."""
        while True:
            tag, body = self.message()
            if tag == b"E":
                raise Refused(body.decode(errors="replace"))
            if tag == b"Z":
                return

    def prepare(self):
        out = b"".join(frame(b"P", b"s%d\0" % i + text + b"\0" + struct.pack("!h", 0)) for i, text in enumerate(STATEMENTS))
        self.sock.sendall(out + frame(b"S"))

    def execute(self, turn):
        bind = b"\0s%d\0" % (turn % len(STATEMENTS)) + struct.pack("!hhi", 0, 1, 1) + b"7" + struct.pack("!h", 0)
        self.sock.sendall(frame(b"B", bind) + frame(b"E", b"\0" + struct.pack("!i", 0)) + frame(b"S"))

    def drink(self, sql):
        """Runs a query with a huge answer and returns how many bytes came; ends at ReadyForQuery."""
        self.sock.settimeout(120)
        self.sock.sendall(frame(b"Q", sql.encode() + b"\0"))
        total, scratch, tail = 0, bytearray(1 << 18), b""
        while True:
            n = self.sock.recv_into(scratch)
            if not n:
                raise Refused("connection closed in the answer")
            total += n
            tail = (tail + bytes(scratch[max(0, n - 6):n]))[-6:]
            if tail == b"Z\0\0\0\x05I":
                return total

    def close(self):
        self.sock.sendall(frame(b"X"))
        self.sock.close()


def crowd(port, size, transactions, tls=False, chunk=100):
    """`size` clients, each with five prepared statements and `transactions` run; all connected and idle."""
    clients = []
    while len(clients) < size:
        some = [Client(port, tls) for _ in range(min(chunk, size - len(clients)))]
        for c in some:
            c.prepare()
        for c in some:
            c.rest()
        for turn in range(transactions):
            for c in some:
                c.execute(turn)
            for c in some:
                c.rest()
        clients += some
    return clients


def logins(port, each_second, seconds):
    """Open loop: connects, authenticates and leaves at a fixed rate. Prints how many did and the worst delay."""
    start, done, late = time.monotonic(), 0, 0.0
    while done < each_second * seconds:
        due = start + done / each_second
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        late = max(late, -wait)
        Client(port).close()
        done += 1
    print(f"{done} {time.monotonic() - start:.3f} {late:.3f}")


if __name__ == "__main__":
    logins(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
