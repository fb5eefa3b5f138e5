//! SHOW MEM: what there is of each kind of object, by PgBouncer's names for them.
//!
//! Nothing is kept for later: what is free has gone back to the allocator. An object's own size is
//! shown; texts and buffers behind it come on top.

use super::inputs::{Row, handles, views};
use crate::admin::Value;
use crate::app::pooler::Pooler;
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::backend::statements::Statement;
use crate::net::SCRATCH;
use crate::session::SESSION_BYTES;
use crate::session::client_handle::ClientHandle;
use crate::session::route::Route;

pub(super) fn rows(pooler: &Pooler) -> Vec<Row> {
    let workers = usize::from(pooler.workers.count());
    let all = [
        ("client_cache", SESSION_BYTES + size_of::<ClientHandle>(), handles(pooler).len()),
        ("server_cache", size_of::<Server>(), pooler.common.pools.servers().len()),
        ("pool_cache", size_of::<Route>(), views(pooler).len()),
        ("iobuf_cache", SCRATCH, workers),
        ("var_list_cache", size_of::<Settings>(), pooler.common.settings.len()),
        ("server_prepared_statement_cache", size_of::<Statement>(), pooler.common.statements.len()),
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
