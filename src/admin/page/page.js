// Draws what /data.json has. Everything is put in as text, never as HTML: names and statements are
// the clients' own.
"use strict";

const EVERY = 2000;
const POINTS = 150;
const COLUMNS = {
  pools: ["database", "user", "cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_login", "maxwait", "pool_mode"],
  nodes: ["database", "node", "role", "state", "since", "lag_bytes", "lag_ms", "may_read", "weight", "share", "reads", "outstanding", "differs", "last_error", "last_error_time"],
  capacity: ["database", "user", "arrival_rate", "service_time_ms", "offered_load", "pool_size", "utilisation", "wait_p99_ms", "predicted_p99_ms", "recommended_size"],
  queries: ["database", "calls", "rows", "errors", "total_time_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms", "wait_time_ms", "query"],
  clients: ["id", "user", "database", "state", "addr", "port", "connect_time", "wait", "tls"],
  events: ["time", "level", "kind", "count", "database", "user", "message"],
};
const LONG = new Set(["query", "message"]);
const CHARTS = [
  ["transactions a second", (now, before, s) => (now.xact_count - before.xact_count) / s],
  ["mean query, ms", (now, before) => {
    const count = now.query_count - before.query_count;
    return count ? (now.query_time - before.query_time) / count / 1000 : 0;
  }],
  ["clients that wait", (now) => now.waiting],
  ["servers in use", (now) => now.active],
];
const history = CHARTS.map(() => []);
let before = null;
let token = sessionStorage.getItem("token");

function make(name, text, kind) {
  const found = document.createElement(name);
  if (text !== undefined) found.textContent = text;
  if (kind) found.className = kind;
  return found;
}

function shown(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" && !Number.isInteger(value)) return value.toFixed(value < 10 ? 3 : 1);
  return String(value);
}

function table(name, rows) {
  const place = document.getElementById(name);
  if (!rows.length) return place.replaceChildren(make("p", "none"));
  const columns = COLUMNS[name].filter((column) => column in rows[0]);
  const kind = (column) => LONG.has(column) ? "text long" : typeof rows[0][column] === "number" ? "" : "text";
  const head = make("tr");
  columns.forEach((column) => head.append(make("th", column, kind(column))));
  const body = rows.map((row) => {
    const line = make("tr");
    columns.forEach((column) => line.append(make("td", shown(row[column]), kind(column))));
    return line;
  });
  const found = make("table");
  found.append(head, ...body);
  place.replaceChildren(found);
}

function chart(title, values) {
  const [width, height] = [260, 60];
  const top = Math.max(...values, 1e-9);
  const points = values.map((value, at) => {
    const x = width - (values.length - 1 - at) * width / (POINTS - 1);
    return `${x.toFixed(1)},${(height - 2 - value / top * (height - 6)).toFixed(1)}`;
  });
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", points.join(" "));
  svg.append(line);
  const figure = make("figure");
  const caption = make("figcaption", `${title}: `);
  caption.append(make("b", shown(values.at(-1))));
  figure.append(caption, svg);
  return figure;
}

function draw(data) {
  Object.keys(COLUMNS).forEach((name) => table(name, data[name] ?? []));
  const now = Object.fromEntries(data.totals.map((row) => [row.name.replace(/^total_/, ""), row.value]));
  const sum = (column) => data.pools.reduce((all, row) => all + row[column], 0);
  Object.assign(now, { waiting: sum("cl_waiting"), active: sum("sv_active"), at: performance.now() });
  if (before) {
    const seconds = (now.at - before.at) / 1000;
    CHARTS.forEach(([, value], at) => {
      history[at].push(value(now, before, seconds));
      history[at].splice(0, history[at].length - POINTS);
    });
    document.getElementById("charts").replaceChildren(
      ...CHARTS.map(([title], at) => chart(title, history[at])));
  }
  before = now;
  state(`${data.version} · ${data.ready ?? "ready"}`, Boolean(data.ready));
}

function state(text, bad) {
  const place = document.getElementById("state");
  place.textContent = text;
  place.className = bad ? "bad" : "";
}

async function refresh() {
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch("/data.json", { headers, cache: "no-store" });
    document.getElementById("login").hidden = answer.status !== 401;
    if (answer.ok) draw(await answer.json());
    else state((await answer.text()).trim(), true);
  } catch (error) {
    state(`no answer: ${error.message}`, true);
  }
  setTimeout(refresh, EVERY);
}

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = document.getElementById("token").value;
  sessionStorage.setItem("token", token);
});
refresh();
