"""What both programs have in common: the functions and triggers of their database, and the mix of requests.

A shop: authors, books, customers, orders with lines. Tables are made by each program's own library.
"""
import random, threading

THREADS = 8
BOOKS, AUTHORS, CUSTOMERS = 200, 20, 50

# As in many applications: a trigger for updated_at, a few functions of the application's own.
FUNCTIONS = """
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE ON shop_book FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch BEFORE UPDATE ON shop_order FOR EACH ROW EXECUTE FUNCTION touch();
CREATE FUNCTION order_total(bigint) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(l.quantity * b.price), 0) FROM shop_orderline l JOIN shop_book b ON b.id = l.book_id
    WHERE l.order_id = $1 $$;
CREATE FUNCTION slug(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN lower(regexp_replace($1, '[^A-Za-z0-9]+', '-', 'g'));
END $$;
CREATE FUNCTION reserve(bigint, integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE shop_book SET stock = stock - $2 WHERE id = $1;
    RETURN FOUND;
END $$;
"""

# Of a hundred requests.
MIX = (("list_books", 30), ("show_book", 30), ("place_order", 15), ("change_price", 10), ("show_order", 8),
       ("cancel_order", 4), ("report", 2), ("nightly_job", 1))
LOCK = 4711


def run(requests, leave):
    """Calls the functions of `requests` from several threads, in the same order each time; `leave` ends each thread."""
    each, failures = requests["count"] // THREADS, []
    names, weights = zip(*MIX)

    def work(number):
        choose = random.Random(number)
        try:
            for name in choose.choices(names, weights, k=each):
                requests[name](choose)
            leave()
        except Exception as failure:  # of any kind: it ends the measurement
            failures.append(f"thread {number}: {type(failure).__name__}: {failure}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit("\n".join(failures))
