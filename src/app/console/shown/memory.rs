//! SHOW MEM: what there is of each kind of object, by PgBouncer's names for them.
//!
//! Nothing is kept for later: what is free has gone back to the allocator. An object's own size is
//! shown; texts and buffers behind it come on top.

use super::{Row, cards, views};
use crate::admin::Value;
use crate::app::door::Door;
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::backend::statements::Statement;
use crate::net::SCRATCH;
use crate::session::SESSION_BYTES;
use crate::session::card::Card;
use crate::session::route::Route;

pub(super) fn rows(door: &Door) -> Vec<Row> {
    let workers = usize::from(door.workers.count());
    let all = [
        ("client_cache", SESSION_BYTES + size_of::<Card>(), cards(door).len()),
        ("server_cache", size_of::<Server>(), door.common.pools.servers().len()),
        ("pool_cache", size_of::<Route>(), views(door).len()),
        ("iobuf_cache", SCRATCH, workers),
        ("var_list_cache", size_of::<Settings>(), door.common.settings.len()),
        ("server_prepared_statement_cache", size_of::<Statement>(), door.common.statements.len()),
    ];
    let row = |(name, size, used): (&str, usize, usize)| {
        let total = size.saturating_mul(used);
        vec![
            name.into(),
            Value::count(size),
            Value::count(used),
            Value::Number(0),
            Value::count(total),
        ]
    };
    all.map(row).into()
}
