//! What a RESET returns to.
//!
//! On the server it is the server's own default; for the client it is what its startup packet said
//! (manual, "Parameter Interaction via the Startup Message"), or else what `connect_query` has set.
//! So the server is asked behind the transaction what it has, and is given the rest, before the
//! client hears of the end: what is sent behind a RESET waits for that.

use super::bound::Bound;
use super::client::Client;
use super::effects::Effects;
use super::gate::Gate;
use crate::backend::state::Reply;
use crate::metrics::EventKind;
use crate::wire::{self, client, server};

impl Client {
    /// In session mode the server keeps what the client does, but its defaults are not those of the
    /// client's startup packet, nor those of `connect_query`: after a RESET they have to be
    /// restored. `effects`: those of the text in a Query or Parse.
    pub(super) fn record_resets(
        &mut self,
        bound: &mut Bound,
        (tag, body): (u8, &[u8]),
        effects: Effects,
    ) {
        if !self.has_defaults(bound.lease.server()) {
            return;
        }
        let both = Effects::RESETS | Effects::SETTINGS;
        let resets = effects.contains(Effects::RESETS);
        match tag {
            client::BIND if bound.resetting.is_bound(body) => bound.effects |= both,
            client::QUERY | client::PARSE if resets => bound.effects |= effects & both,
            _ => {}
        }
        if tag == client::PARSE
            && let Some(view) = client::read_parse(body)
        {
            bound.resetting.prepared(view.name, resets);
        }
    }

    /// ParameterStatus. A new `application_name` is stored in the client's handle.
    pub(super) fn handle_parameter_status(&mut self, bound: &mut Bound, body: &[u8]) -> Reply {
        if self.is_of_node(body) {
            bound.lease.server().report(body);
            return Reply::Swallow;
        }
        let reply = self.parameter_status(bound, body);
        if reply == Reply::Forward
            && let Some((b"application_name", value)) = server::read_parameter_status(body)
        {
            self.handle.set_application_name(std::str::from_utf8(value).ok());
        }
        reply
    }

    /// ParameterStatus. What a RESET returns to is the server's own default; the client's is what
    /// its startup packet said. The client hears of that, which the server is going to be given
    /// before ReadyForQuery, and not of the other.
    fn parameter_status(&mut self, bound: &mut Bound, body: &[u8]) -> Reply {
        let server = bound.lease.server();
        let reply = server.replies.front_reply();
        let before = server.reported_value(body);
        server.report(body);
        if reply == Reply::Forward {
            self.expect_change(bound, body);
        }
        if !bound.effects.contains(Effects::RESETS) && !bound.owes_ready {
            return reply;
        }
        let Some((name, value)) = server::read_parameter_status(body) else { return reply };
        let told = bound.withheld.iter().find(|(known, _)| **known == *name);
        if bound.owes_ready {
            let told = told.map_or(before.as_deref(), |(_, told)| told.as_deref());
            return if told == Some(value) { Reply::Swallow } else { Reply::Forward };
        }
        let own = std::str::from_utf8(name).ok().map(str::to_ascii_lowercase);
        let startup = &self.state.startup;
        if reply != Reply::Forward || own.is_none_or(|name| startup.value(&name).is_none()) {
            return reply;
        }
        let neutral = self.route.account.reported_parameters.find(&self.route.account.neutral);
        let default = neutral.as_ref().and_then(|said| said.iter().find(|(n, _)| **n == *name));
        if default.is_none_or(|(_, default)| **default != *value) {
            return reply;
        }
        if told.is_none() {
            bound.withheld.push((name.into(), before));
        }
        Reply::Swallow
    }

    /// A parameter has changed for the client. If nothing that it has sent could do that, something
    /// that no text shows has: the server is asked what else has changed.
    fn expect_change(&mut self, bound: &mut Bound, body: &[u8]) {
        let explained = Effects::SETTINGS | Effects::SETS | Effects::RESETS;
        if self.keeps_server() || bound.effects.intersects(explained) || bound.owes_ready {
            return;
        }
        // The end of a transaction undoes what was set in it, and the server's configuration may be
        // read again at any time.
        let name = server::read_parameter_status(body).map(|(name, _)| name).unwrap_or_default();
        bound.effects |= Effects::SETTINGS | Effects::OBJECTS | Effects::UNKNOWN_SETTINGS;
        let name = String::from_utf8_lossy(name);
        let text = format!("the server reports a change of {name} that no statement explains");
        tracing::warn!(
            client = self.handle.id, user = %self.route.user, database = %self.route.database, "{text}"
        );
        self.record_event(EventKind::Server, &text);
    }

    /// ReadyForQuery that waits until the defaults of the client's startup packet are restored.
    pub(super) fn withhold_ready(&self, bound: &mut Bound, status: u8) -> bool {
        let (effects, checks) = (bound.effects, matches!(bound.gate, Some(Gate::Check(_))));
        let has_own = self.has_defaults(bound.lease.server());
        let resets = effects.contains(Effects::RESETS) && has_own;
        // A cancel request on its way keeps the server from being given back, but not from this:
        // it is waited for before anything is asked.
        if checks {
            // It is for a Sync that a copy might have ignored.
            return false;
        }
        bound.owes_ready = resets && status == wire::IDLE && bound.lease.server().may_ask();
        bound.owes_ready
    }
}
