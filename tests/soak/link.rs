//! One connection between howdah and PostgreSQL, frame by frame.

use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;

use rustix::net::{RecvFlags, recv};

use super::coverage::{Coverage, Moment, Victim};
use super::evil::{Act, Plan, Shared, lock};
use super::losses::{Losses, Name, Text};
use super::support::messages;

const HEADER: usize = 5;
const CHUNK: usize = 32 * 1024;

/// What PostgreSQL owes, as far as the relay can see.
#[derive(Debug, Default)]
struct Owed {
    /// Query, FunctionCall and Sync without their ReadyForQuery.
    questions: i64,
    /// Something was sent since the last Sync.
    open: bool,
    /// The last ReadyForQuery said that there is no transaction.
    rests: bool,
    /// A part of a message has come that is not passed on before the rest.
    partial: bool,
    /// Something has been read of howdah's that was not looked at yet.
    in_hand: bool,
    /// It was ended while it was idle.
    ended: bool,
    /// Something of howdah's was on its way when it was ended.
    crossed: bool,
    /// Whose settings it was given last.
    owner: Option<Name>,
    /// Something has passed that may have changed the session, and howdah may still be busy with
    /// finding out.
    may_differ: bool,
    /// Howdah has asked what was changed.
    probed: bool,
    /// A text of the owner has passed that may have moved a sequence: an owner that asks what it has
    /// drawn may keep the server.
    may_be_kept: bool,
    /// It has been entered who must be told of its end.
    judged: bool,
}

impl Owed {
    /// Whether the server is with this client already.
    fn is_with(&self, name: Name) -> bool {
        self.owner.is_some_and(|owner| owner.client == name.client)
    }

    /// A Query or a Parse has passed.
    fn heard(&mut self, text: Text) {
        match text {
            Text::Probe => self.probed = true,
            // The texts behind it are read as a client's that change nothing.
            Text::Catalog => {}
            // What the session has reset is restored.
            Text::Alignment(name) if name.is_none_or(|name| self.is_with(name)) => {}
            Text::Alignment(_) | Text::Own => {
                (self.may_differ, self.may_be_kept) = (false, false);
            }
            Text::Client { harmless } => {
                self.may_be_kept |= !harmless;
                let known = std::mem::take(&mut self.probed);
                self.may_differ = self.may_differ && !known || !harmless;
            }
        }
    }
}

/// The socket to howdah, and whether what it was sent ends with a whole frame.
#[derive(Debug)]
struct Toward {
    socket: TcpStream,
    whole: bool,
}

#[derive(Debug)]
pub(crate) struct Link {
    howdah: TcpStream,
    node: TcpStream,
    toward: Mutex<Toward>,
    owed: Mutex<Owed>,
    plan: Mutex<Option<Arc<Plan>>>,
}

impl Link {
    /// Ends both connections at once.
    pub(crate) fn cut(&self) {
        // Either may be gone already.
        self.howdah.shutdown(Shutdown::Both).ok();
        self.node.shutdown(Shutdown::Both).ok();
    }

    /// What is known of the connection, for a failure.
    pub(crate) fn standing(&self) -> String {
        let unread = |socket| rustix::io::ioctl_fionread(socket).unwrap_or(0);
        let (front, back) = (unread(&self.howdah), unread(&self.node));
        format!("{:?}; to be read of howdah {front}, of PostgreSQL {back}", lock(&self.owed))
    }

    /// The plan, if it says this.
    pub(crate) fn planned(&self, act: Act) -> Option<Arc<Plan>> {
        lock(&self.plan).as_ref().filter(|plan| plan.act == act).cloned()
    }

    /// Ends the connection if nothing is owed, with PostgreSQL's words. What howdah sends later
    /// is noticed and dropped.
    pub(crate) fn end_if_idle(&self, losses: &Losses) -> bool {
        let mut owed = lock(&self.owed);
        if owed.questions != 0 || owed.open || owed.partial || !owed.rests || owed.ended {
            return false;
        }
        let Some(mut toward) = self.toward.try_lock() else { return false };
        if !toward.whole {
            return false;
        }
        let body =
            b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0";
        owed.ended = true;
        toward.socket.write_all(&messages::message(b'E', body)).ok();
        toward.socket.shutdown(Shutdown::Write).ok();
        owed.crossed = owed.in_hand || rustix::io::ioctl_fionread(&self.howdah).unwrap_or(0) > 0;
        self.node.shutdown(Shutdown::Both).ok();
        losses.ends(format!("{:?} {owed:?}", self.howdah.peer_addr()));
        true
    }

    fn pass(&self, bytes: &[u8], whole: bool) -> ControlFlow<()> {
        if bytes.is_empty() {
            return ControlFlow::Continue(());
        }
        let mut toward = lock(&self.toward);
        toward.whole = whole;
        match toward.socket.write_all(bytes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn cut_by<T>(&self, plan: &Plan, shared: &Shared, moment: Moment) -> ControlFlow<(), T> {
        self.cut();
        shared.coverage.killed(moment, Victim::Server);
        plan.reached.set();
        ControlFlow::Break(())
    }

    /// Withholds what comes next.
    fn hold(&self, plan: &Plan) {
        plan.reached.set();
        // Whoever made the plan fails when nothing more comes.
        plan.released.wait_long();
        *lock(&self.plan) = None;
    }
}

/// Relays until both sides have ended. `doomed`: the login does not succeed.
pub(crate) fn relay(shared: &Arc<Shared>, howdah: TcpStream, node: TcpStream, doomed: bool) {
    for socket in [&howdah, &node] {
        socket.set_nodelay(true).expect("a TCP option");
    }
    let twin = |socket: &TcpStream| socket.try_clone().expect("a second handle");
    let link = Arc::new(Link {
        toward: Mutex::new(Toward { socket: twin(&howdah), whole: true }),
        howdah: twin(&howdah),
        node: twin(&node),
        owed: Mutex::default(),
        plan: Mutex::default(),
    });
    let (back_link, back_shared, back_node) = (Arc::clone(&link), Arc::clone(shared), twin(&node));
    let back = std::thread::spawn(move || {
        let mut back = Back {
            link: &back_link,
            shared: &back_shared,
            doomed,
            pid: None,
            completed: false,
            rest: 0,
        };
        pump(back_node, TcpStream::read, |data| back.take(data));
        // What was passed must arrive: howdah closes when it has read the end.
        back_link.howdah.shutdown(Shutdown::Write).ok();
        back.pid
    });
    let mut front = Front { link: &link, shared, node, rest: 0 };
    let read = |socket: &mut TcpStream, buffer: &mut [u8]| {
        // Waits for something, and takes it under the lock: so the end of an idle server is either
        // before or behind all of it.
        recv(&*socket, [0; 1].as_mut_slice(), RecvFlags::PEEK)?;
        let mut owed = lock(&link.owed);
        let count = socket.read(buffer)?;
        owed.in_hand = count > 0;
        Ok(count)
    };
    pump(howdah, read, |data| front.take(data));
    front.has_ended();
    link.node.shutdown(Shutdown::Both).ok();
    let pid = back.join().expect("a relay that does not panic");
    if let Some(pid) = pid {
        let mut links = lock(&shared.links);
        // The process id may have been given to another by now.
        if links.get(&pid).is_some_and(|known| Arc::ptr_eq(known, &link)) {
            links.remove(&pid);
        }
    }
}

/// Reads until the end, in this way. `take` is given what has come and says how much of it is done with; the
/// rest comes again with more.
fn pump(
    mut from: TcpStream,
    read: impl Fn(&mut TcpStream, &mut [u8]) -> std::io::Result<usize>,
    mut take: impl FnMut(&[u8]) -> ControlFlow<(), usize>,
) {
    let mut buffer = vec![0; CHUNK];
    let mut held = Vec::new();
    loop {
        let count = match read(&mut from, &mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        held.extend_from_slice(&buffer[..count]);
        match take(&held) {
            ControlFlow::Break(()) => return,
            ControlFlow::Continue(used) => drop(held.drain(..used)),
        }
    }
}

/// The tag and whole length of the frame at the start of `data`.
fn frame(data: &[u8]) -> Option<(u8, usize)> {
    let length = u32::from_be_bytes(data.get(1..HEADER)?.try_into().ok()?);
    Some((data[0], usize::try_from(length).ok()? + 1))
}

/// From howdah to PostgreSQL.
struct Front<'a> {
    link: &'a Link,
    shared: &'a Shared,
    node: TcpStream,
    /// Bytes of a frame that are still to come and need no look.
    rest: usize,
}

impl Front<'_> {
    fn take(&mut self, data: &[u8]) -> ControlFlow<(), usize> {
        let mut news = News { texts: Vec::new(), questions: 0, open: None, partial: false };
        let mut at = self.rest.min(data.len());
        self.rest -= at;
        let mut announce = None;
        while let Some((tag, total)) = data.get(at..).and_then(frame) {
            if total < HEADER {
                // No frame: whatever follows is none of ours to read.
                at = data.len();
                self.rest = usize::MAX;
                break;
            }
            let end = data.len().min(at + total);
            if matches!(tag, b'Q' | b'P') {
                if end < at + total {
                    news.partial = true;
                    break;
                }
                news.texts.push(text_of(tag, &data[at + HEADER..end]));
                let plan = self.shared.plan_in(&data[at..end]);
                if let Some(plan) = &plan {
                    *lock(&self.link.plan) = Some(Arc::clone(plan));
                }
                if let Some(plan) = plan.as_ref().filter(|plan| plan.act == Act::CutAtParse) {
                    self.node.write_all(&data[..at]).ok();
                    return self.link.cut_by(plan, self.shared, Moment::Parse);
                }
                let told = |plan: &Arc<Plan>| matches!(plan.act, Act::Announce | Act::CutAtCancel);
                announce = plan.filter(told).or(announce);
            }
            if tag == b'd'
                && let Some(plan) = self.link.planned(Act::CutInCopyIn)
            {
                self.node.write_all(&data[..end.min(at + total / 2)]).ok();
                return self.link.cut_by(&plan, self.shared, Moment::Copy);
            }
            match tag {
                b'Q' => news.questions += 1,
                b'F' => {
                    news.questions += 1;
                    news.texts.push(Text::Client { harmless: false });
                }
                b'S' => (news.questions, news.open) = (news.questions + 1, Some(false)),
                b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => news.open = Some(true),
                _ => {}
            }
            self.rest = at + total - end;
            at = end;
        }
        news.partial |= at < data.len();
        self.note(data, &news)?;
        // Whether PostgreSQL is still there shows on the way back.
        self.node.write_all(&data[..at]).ok();
        if let Some(plan) = announce {
            plan.reached.set();
        }
        ControlFlow::Continue(at)
    }

    fn note(&self, data: &[u8], news: &News) -> ControlFlow<()> {
        let mut owed = lock(&self.link.owed);
        owed.in_hand = false;
        if owed.ended {
            if data.first() != Some(&b'X') {
                self.judge(&mut owed, data, news.texts.first().copied());
            }
            if let Some(plan) = &*lock(&self.link.plan) {
                plan.cannot_be();
            }
            return ControlFlow::Break(());
        }
        news.texts.iter().for_each(|text| owed.heard(*text));
        owed.questions += news.questions;
        owed.open = news.open.unwrap_or(owed.open);
        owed.partial = news.partial;
        ControlFlow::Continue(())
    }

    /// Something came behind the end of an idle server: whose it was.
    fn judge(&self, owed: &mut Owed, data: &[u8], first: Option<Text>) {
        owed.judged = true;
        let is_query = data.first() == Some(&b'Q');
        let must = match first.filter(|_| is_query) {
            Some(Text::Own | Text::Catalog) => return,
            // Of somebody else: whoever had it last has given it back.
            Some(Text::Alignment(Some(name))) if !owed.is_with(name) => return,
            // What the same session had reset is restored, or it has come again.
            Some(Text::Alignment(_)) => false,
            Some(Text::Probe | Text::Client { .. }) | None => true,
        };
        if must {
            let coverage = &self.shared.coverage;
            Coverage::count(if owed.crossed { &coverage.crossed } else { &coverage.late });
        }
        let shown = data[..data.len().min(200)].escape_ascii();
        self.shared.losses.enter(owed.owner, must, format!("{:?} sent {shown}", owed.owner));
    }

    /// Howdah has closed the connection.
    fn has_ended(&self) {
        let owed = lock(&self.link.owed);
        if owed.ended && !owed.judged && owed.may_differ {
            self.shared.losses.enter(owed.owner, false, String::new());
        } else if owed.ended && !owed.judged && owed.may_be_kept {
            self.shared.losses.enter_kept(owed.owner);
        }
    }
}

/// What a piece of data from howdah means.
struct News {
    texts: Vec<Text>,
    questions: i64,
    open: Option<bool>,
    partial: bool,
}

/// The text of a Query or Parse.
fn text_of(tag: u8, body: &[u8]) -> Text {
    let name = if tag == b'P' {
        body.iter().position(|byte| *byte == 0).map_or(0, |end| end + 1)
    } else {
        0
    };
    Text::of(&body[name..])
}

/// From PostgreSQL to howdah.
struct Back<'a> {
    link: &'a Arc<Link>,
    shared: &'a Shared,
    doomed: bool,
    pid: Option<u32>,
    /// A CommandComplete passed since there is a plan.
    completed: bool,
    rest: usize,
}

impl Back<'_> {
    fn take(&mut self, data: &[u8]) -> ControlFlow<(), usize> {
        let plan = lock(&self.link.plan).clone();
        let (mut at, mut passed, mut ready) = (self.rest.min(data.len()), 0, Vec::new());
        self.rest -= at;
        while let Some((tag, total)) = data.get(at..).and_then(frame) {
            let end = data.len().min(at + total);
            if matches!(tag, b'K' | b'Z' | b'S') && end < at + total {
                break;
            }
            if tag == b'S' {
                self.reported(&data[at + HEADER..end]);
            }
            if tag == b'K' {
                self.log_in(&data[at..end])?;
            }
            if let Some(plan) = &plan {
                // The part of this frame that goes through if it is the one.
                let half = end.min(at + HEADER + (total - HEADER) / 2);
                self.act(plan, tag, (&data[passed..at], &data[at..half]), &mut passed)?;
            }
            if tag == b'Z' {
                ready.push(data[at + HEADER]);
            }
            self.rest = at + total - end;
            at = end;
        }
        self.link.pass(&data[passed..at], self.rest == 0)?;
        if let Some(status) = ready.last() {
            let mut owed = lock(&self.link.owed);
            owed.questions = (owed.questions - i64::try_from(ready.len()).expect("few")).max(0);
            owed.rests = *status == b'I';
        }
        ControlFlow::Continue(at)
    }

    /// ParameterStatus: whose settings these are is in the name.
    fn reported(&self, body: &[u8]) {
        let mut parts = body.split(|byte| *byte == 0);
        if let (Some(b"application_name"), Some(value)) = (parts.next(), parts.next())
            && let Some(name) = Name::read(value)
        {
            lock(&self.link.owed).owner = Some(name);
        }
    }

    fn log_in(&mut self, key: &[u8]) -> ControlFlow<()> {
        if self.doomed {
            self.link.cut();
            self.shared.coverage.killed(Moment::Login, Victim::Server);
            return ControlFlow::Break(());
        }
        let pid = key.get(HEADER..HEADER + 4).and_then(|pid| pid.try_into().ok());
        self.pid = pid.map(u32::from_be_bytes);
        if let Some(pid) = self.pid {
            lock(&self.shared.links).insert(pid, Arc::clone(self.link));
        }
        // The first ReadyForQuery answers the startup packet.
        lock(&self.link.owed).questions += 1;
        ControlFlow::Continue(())
    }

    /// Does what is planned for a frame: `before` it there is something that still has to pass,
    /// and `half` of it is there.
    fn act(
        &mut self,
        plan: &Plan,
        tag: u8,
        (before, half): (&[u8], &[u8]),
        passed: &mut usize,
    ) -> ControlFlow<()> {
        self.completed |= tag == b'C';
        let cut = match (plan.act, tag) {
            (Act::CutAtParseComplete, b'1') => (Moment::Parse, false),
            (Act::CutInRow, b'D') => (Moment::Row, true),
            (Act::CutInCopyOut, b'd') => (Moment::Copy, true),
            (Act::CutBeforeReady, b'Z') if self.completed => (Moment::Ready, false),
            (Act::HoldParseComplete, b'1') | (Act::HoldReady, b'Z') => {
                if lock(&self.link.plan).is_some() {
                    self.link.pass(before, true)?;
                    *passed += before.len();
                    self.link.hold(plan);
                    self.completed = false;
                }
                return ControlFlow::Continue(());
            }
            _ => return ControlFlow::Continue(()),
        };
        self.link.pass(before, true)?;
        if cut.1 {
            self.link.pass(half, false)?;
        }
        self.link.cut_by(plan, self.shared, cut.0)
    }
}
