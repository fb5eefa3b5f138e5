//! What a RESET returns to.
//!
//! On the server it is the server's own default; for the client it is what its startup packet said
//! (manual, "Parameter Interaction via the Startup Message"), or else what `connect_query` has set.
//! So the server is asked behind the transaction what it has, and is given the rest, before the
//! client hears of the end: what is sent behind a RESET waits for that.

use super::gate::Gate;
use super::run::Session;
use super::settings;
use super::texts::Text;
use crate::backend::state::Reply;
use crate::wire::{self, HEADER_LEN, Header, client, server};

impl Session {
    /// A batch has been sent whole. What is behind it may use names that it drops, or defaults that
    /// are still to be restored. Not of a message whose rest is still to come: behind a gate the
    /// client is not read.
    #[inline]
    pub(super) fn holds_what_follows(&mut self) {
        if self.effects & (settings::FORGETS | settings::RESETS) == 0 {
            return;
        }
        let forgets = self.effects & settings::FORGETS != 0;
        self.effects &= !settings::FORGETS;
        if forgets || self.has_defaults() {
            self.gate = Some(Gate::Batch);
        }
    }

    /// In session mode the server keeps what the client does, but its defaults are not those of the
    /// client's startup packet, nor those of `connect_query`: after a RESET they have to be
    /// restored.
    pub(super) fn note_resets(&mut self, header: Header, data: &[u8]) {
        if !matches!(header.tag, client::QUERY | client::PARSE | client::BIND)
            || !self.has_defaults()
        {
            return;
        }
        let body = data.get(HEADER_LEN..header.total().min(data.len())).unwrap_or_default();
        if header.tag == client::BIND {
            if self.resetting.is_bound(body) {
                self.effects |= settings::RESETS | settings::SETTINGS;
            }
            return;
        }
        let view = (header.tag == client::PARSE).then(|| client::read_parse(body)).flatten();
        let text = view.map_or_else(|| body.strip_suffix(&[0]), |view| Some(view.sql));
        let (database, custom) = (&self.route.database, &mut self.custom);
        let effects = text.map_or(0, |sql| {
            let text = Text { database, conforming: true, sql };
            self.worker.texts.borrow_mut().effects(text, &mut |name| custom.note(name))
        });
        let resets = effects & settings::RESETS != 0;
        if resets {
            self.effects |= effects & (settings::RESETS | settings::SETTINGS);
        }
        if let Some(view) = view {
            self.resetting.prepared(view.name, resets);
        }
    }

    /// Whether a RESET on the server returns to something else than the session's own defaults.
    pub(super) fn has_defaults(&mut self) -> bool {
        let baseline = self.lease.as_mut().map(|lease| lease.server().baseline.settings());
        !self.startup.is_empty() || baseline.is_some_and(|baseline| !baseline.is_empty())
    }

    /// ParameterStatus; other threads see what the client is told that it calls itself.
    pub(super) fn heard_of(&mut self, body: &[u8]) -> Reply {
        let reply = self.parameter_status(body);
        if reply == Reply::Forward
            && let Some((b"application_name", value)) = server::read_parameter_status(body)
        {
            self.card.calls_itself(std::str::from_utf8(value).ok());
        }
        reply
    }

    /// ParameterStatus. What a RESET returns to is the server's own default; the client's is what
    /// its startup packet said. The client hears of that, which the server is going to be given
    /// before ReadyForQuery, and not of the other.
    fn parameter_status(&mut self, body: &[u8]) -> Reply {
        let Some(lease) = &mut self.lease else { return Reply::Swallow };
        let server = lease.server();
        let reply = server.replies.front_reply();
        let before = server.reported_value(body);
        server.report(body);
        if self.effects & settings::RESETS == 0 && !self.owes_ready {
            return reply;
        }
        let Some((name, value)) = server::read_parameter_status(body) else { return reply };
        let told = self.withheld.iter().find(|(known, _)| **known == *name);
        if self.owes_ready {
            let told = told.map_or(before.as_deref(), |(_, told)| told.as_deref());
            return if told == Some(value) { Reply::Swallow } else { Reply::Forward };
        }
        let own = std::str::from_utf8(name).ok().map(str::to_ascii_lowercase);
        if reply != Reply::Forward || own.is_none_or(|name| self.startup.value(&name).is_none()) {
            return reply;
        }
        let neutral = self.route.account.welcomes.find(&self.route.account.neutral);
        let default = neutral.as_ref().and_then(|said| said.iter().find(|(n, _)| **n == *name));
        if default.is_none_or(|(_, default)| **default != *value) {
            return reply;
        }
        if told.is_none() {
            self.withheld.push((name.into(), before));
        }
        Reply::Swallow
    }

    /// ReadyForQuery that waits until the defaults of the client's startup packet are restored.
    pub(super) fn withholds_ready(&mut self, status: u8) -> bool {
        let Some(lease) = &mut self.lease else { return false };
        let server = lease.server();
        let has_own = !self.startup.is_empty() || !server.baseline.settings().is_empty();
        let resets = self.effects & settings::RESETS != 0 && has_own;
        // A cancel request on its way keeps the server from being given back, but not from this:
        // it is waited for before anything is asked.
        if matches!(self.gate, Some(Gate::Probe(_))) {
            // It is for a Sync that a copy might have ignored.
            return false;
        }
        self.owes_ready = resets && status == wire::IDLE && server.may_ask();
        self.owes_ready
    }
}
