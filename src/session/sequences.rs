//! What `nextval` gave a session (`currval`, `lastval`): its own, and never another's.
//!
//! PostgreSQL remembers it by connection. A server remembers for whom it does, and forgets (DISCARD
//! SEQUENCES) what was another's before a session asks. Then the session's own values are gone as well,
//! and PostgreSQL says so (55000): from then on the session keeps a server on which it has moved a
//! sequence. A session that asks only in the transaction that has moved it needs none of this.

use super::bound::Bound;
use super::client::{Client, SequenceState};
use super::effects::Effects;
use super::pieces::Pieces;
use super::route::StatePolicy;
use super::state_check::Pin;
use super::text_cache::Text;
use crate::backend::note::Note;
use crate::backend::server::Sequences;
use crate::pool::SlotId;
use crate::wire::{self, HEADER_LEN, client};
use std::sync::atomic::{AtomicU64, Ordering};

const DISCARD_SEQUENCES: &[u8] = b"DISCARD SEQUENCES";

/// What a text may do that is followed.
const CONCERNED: Effects =
    Effects::MOVES_SEQUENCES.union(Effects::READS_SEQUENCES).union(Effects::FORGETS_SEQUENCES);

/// The last number of a use of sequences.
static LAST_USE: AtomicU64 = AtomicU64::new(0);

impl Client {
    /// The server on which the session has moved a sequence last, if the message in front of `data`
    /// asks what that gave: it is still there if nobody has used that server since.
    pub(super) fn server_of_sequences(&self, data: &[u8]) -> Option<SlotId> {
        let server = self.state.sequences.server?;
        self.effects_in_front(data)?.contains(Effects::READS_SEQUENCES).then_some(server)
    }

    /// What running the message in front may do, as far as it is there and can be read.
    fn effects_in_front(&self, data: &[u8]) -> Option<Effects> {
        let header = wire::header(data, self.options.max_packet_size).ok()??;
        let body = data.get(HEADER_LEN..header.total())?;
        let sql = match header.tag {
            client::QUERY => body.strip_suffix(&[0])?,
            client::PARSE => client::read_parse(body)?.sql,
            client::BIND => {
                let statement = client::read_bind(body)?.statement;
                return Some(self.state.statements.effects_of(statement));
            }
            _ => return None,
        };
        let readable = self.state.reading.read(sql)?;
        let (database, rules) = (&*self.route.database, readable.rules);
        let catalog = Some(&*self.route.catalog);
        let text = Text { database, rules, catalog, sql: &readable.text };
        Some(self.worker.texts.borrow_mut().effects(text, &mut |_| false))
    }

    /// A text that moves a sequence, or reads what one gave, is going to be sent: it must not find
    /// what another client's `nextval` has left.
    #[inline]
    pub(super) fn follow_sequences(
        &mut self,
        bound: &mut Bound,
        effects: Effects,
        pieces: &mut Pieces<'_>,
    ) {
        if effects.intersects(CONCERNED) {
            self.follow(bound, effects, pieces);
        }
    }

    /// Whether a text that does this has to wait until it is known whether the server has forgotten what
    /// others have left: the server may have skipped that, or have refused it. A copy waits for more of
    /// the client's, so that nothing can be waited for behind it.
    #[inline]
    pub(super) fn must_await_sequences(bound: &mut Bound, effects: Effects) -> bool {
        if !effects.intersects(CONCERNED) {
            return false;
        }
        let server = bound.server();
        server.replies.may_be_skipped_alone(server.sequences_by)
            && !server.replies.awaits_copy_end()
    }

    fn follow(&mut self, bound: &mut Bound, effects: Effects, pieces: &mut Pieces<'_>) {
        let reads = effects.contains(Effects::READS_SEQUENCES);
        let moves = effects.contains(Effects::MOVES_SEQUENCES);
        // What the same transaction has moved is on this server anyway.
        let has_moved = moves || bound.effects.contains(Effects::MOVES_SEQUENCES);
        self.state.sequences.is_kept |= reads && !has_moved;
        let is_kept = self.state.sequences.is_kept;
        let must_be_own = reads || is_kept || self.route.sequences.must_be_exact();
        self.route.sequences.count(reads, moves);
        let server = bound.lease.server();
        let failed = server.replies.status() == wire::FAILED;
        let are_own = server.sequences.are_of(self.state.sequences.used);
        if !are_own && must_be_own && !failed && (reads || moves) {
            self.forget_sequences(bound, pieces);
        }
        if effects.contains(Effects::FORGETS_SEQUENCES) {
            // Whatever another server remembers of this session does not count any more.
            self.state.sequences = SequenceState::default();
            bound.pin.take_if(|pin| *pin == Pin::Sequence);
            bound.lease.server().sequences = Sequences::Mixed;
        }
        if moves {
            let server = bound.lease.server();
            if !server.sequences.are_of(self.state.sequences.used)
                || server.sequences == Sequences::None
            {
                self.state.sequences.used = LAST_USE.fetch_add(1, Ordering::Relaxed) + 1;
            }
            self.state.sequences.server = Some(bound.lease.slot());
            let server = bound.lease.server();
            server.sequences = server.sequences.moved_by(self.state.sequences.used);
            // A session that keeps its primary's server needs no pin for it.
            let may_pin = self.state_policy() != StatePolicy::Ignore && !self.keeping.is_each();
            if is_kept && may_pin {
                bound.pin = bound.pin.or(Some(Pin::Sequence));
            }
        }
    }

    fn forget_sequences(&self, bound: &mut Bound, pieces: &mut Pieces<'_>) {
        let is_told = bound.server().replies.has_open_batch();
        let note = Note::ForgetSequences { is_told };
        let mut link = self.link(bound, pieces);
        if is_told {
            link.run_in_batch(DISCARD_SEQUENCES, note, true);
        } else {
            // Should it fail, the text behind it fails too.
            link.run_query(DISCARD_SEQUENCES, note);
        }
        let server = bound.server();
        server.sequences = Sequences::None;
        server.sequences_by = server.replies.last_serial();
    }
}
