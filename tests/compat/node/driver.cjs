// node-postgres: client, pool, named statements, cursors, COPY streams, cancel. Settings come from PG… variables.
'use strict'
const { isDeepStrictEqual } = require('node:util')
const { Readable, Writable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { Client, Pool } = require('pg')
const Cursor = require('pg-cursor')
const { from: copyFrom, to: copyTo } = require('pg-copy-streams')

const POOL_SIZE = Number(process.env.COMPAT_POOL_SIZE)

function fail(name, said) {
  console.log(`FAILED - ${name}: ${said}`)
  process.exit(1)
}
function ok(name) {
  console.log(`ok - ${name}`)
}
function same(name, want, got) {
  if (!isDeepStrictEqual(want, got)) fail(name, `expected ${JSON.stringify(want)}, got ${JSON.stringify(got)}`)
  ok(name)
}
function sharedServers(name, pidsByClient) {
  const all = new Set(pidsByClient.flatMap((pids) => [...pids]))
  if (all.size < 2 || all.size > POOL_SIZE) fail(name, `${all.size} servers`)
  if (!pidsByClient.some((pids) => pids.size > 1)) fail(name, 'no client changed servers')
  ok(`${name}: ${all.size} servers for ${pidsByClient.length} clients, changing`)
}
async function connect(options) {
  const client = new Client(options)
  client.on('error', (error) => fail('connection', error))
  await client.connect()
  return client
}
async function errorOf(promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
  fail('an error', 'it succeeded')
}
const value = async (client, ...query) => Object.values((await client.query(...query)).rows[0])[0]
const numbers = (count) => Array.from({ length: count }, (_, i) => i)

async function queries() {
  const client = await connect()
  same('values there and back', [{ a: 1, b: 'ünïcode \'"\\', c: null, d: true, e: [1, null], f: { x: [1] }, g: Buffer.from([0, 255]) }], (
    await client.query('SELECT $1::int a, $2::text b, $3::text c, $4::bool d, $5::int[] e, $6::jsonb f, $7::bytea g', [
      1, 'ünïcode \'"\\', null, true, [1, null], { x: [1] }, Buffer.from([0, 255]),
    ])).rows)
  same('several statements', [1, 2], (await client.query('SELECT 1 AS a; SELECT 2 AS a')).map((r) => r.rows[0].a))
  same('rows as arrays', [[1, 2]], (await client.query({ text: 'SELECT 1, 2', rowMode: 'array' })).rows)
  same('binary results', 7, await value(client, { text: 'SELECT $1::int', values: [7], binary: true }))
  same('100,000 rows', 100000, (await client.query("SELECT i, repeat('x', 50) FROM generate_series(1, 100000) i")).rowCount)
  same('a row of 50 MB', 50000000, (await value(client, "SELECT repeat('x', 50000000)")).length)
  same('an empty query', 0, (await client.query('')).rows.length)
  same('200 queries in line', numbers(200), await Promise.all(numbers(200).map((i) => value(client, 'SELECT $1::int', [i]))))
  const said = []
  client.on('notice', (notice) => said.push(`${notice.severity} ${notice.message}`))
  await client.query("DO $$BEGIN RAISE NOTICE 'noticed'; END$$")
  same('notices', ['NOTICE noticed'], said)
  for (const [state, ...query] of [
    ['42601', 'SELEC'], ['42P01', 'TABLE missing'], ['22012', 'SELECT 1/$1::int', [0]], ['22P02', 'SELECT $1::int', ['x']],
    ['08P01', 'SELECT $1::int, $2::int', [1]], ['42P18', 'SELECT $1', [null]], ['25001', 'SELECT 1; VACUUM'],
  ]) {
    if (state === '42P18') {
      same('a parameter of no known type is text', null, await value(client, ...query))
      continue
    }
    same(`SQLSTATE of ${query[0]}`, state, (await errorOf(client.query(...query))).code)
    same('and the session goes on', 1, await value(client, 'SELECT 1'))
  }
  await client.end()
  same('a wrong password', '28P01', (await errorOf(connectQuietly({ password: 'wrong' }))).code)
  same('a missing database', '3D000', (await errorOf(connectQuietly({ database: 'nowhere' }))).code)
  const set = await connect({ application_name: 'node', statement_timeout: 150, options: '-c search_path=node' })
  same('startup parameters', ['node', '150ms', 'node'], [
    await value(set, 'SHOW application_name'), await value(set, 'SHOW statement_timeout'), await value(set, 'SHOW search_path')])
  same('statement_timeout', '57014', (await errorOf(set.query('SELECT pg_sleep(60)'))).code)
  await set.end()
}

async function connectQuietly(options) {
  const client = new Client(options)
  await client.connect()
}

async function named() {
  const work = async (number) => {
    const client = await connect()
    const pids = new Set()
    for (const turn of numbers(60)) {
      // The same name with another text on every client.
      const row = (await client.query({
        name: 'mine', text: `SELECT $1::int + ${number} AS sum, pg_backend_pid() AS pid`, values: [turn] })).rows[0]
      if (row.sum !== turn + number) fail('named statements', `client ${number} got ${row.sum}`)
      pids.add(row.pid)
      await client.query('BEGIN')
      const again = (await client.query({ name: `of ${turn % 4}`, text: `SELECT ${turn % 4} AS n` })).rows[0].n
      if (again !== turn % 4) fail('named statements', `client ${number} got ${again}`)
      await client.query(turn % 2 ? 'COMMIT' : 'ROLLBACK')
    }
    await client.end()
    return pids
  }
  sharedServers('named statements', await Promise.all(numbers(3 * POOL_SIZE).map(work)))

  const client = await connect()
  same('an error while parsing', '42P01', (await errorOf(client.query({ name: 'late', text: 'TABLE node_late' }))).code)
  await client.query('CREATE TABLE node_late (a int)')
  same('the same name once it parses', 0, (await client.query({ name: 'late', text: 'TABLE node_late' })).rowCount)
  const other = await connect()
  await other.query('ALTER TABLE node_late ADD b int')
  same('after the columns changed', '0A000', (await errorOf(client.query({ name: 'late', text: 'TABLE node_late' }))).code)
  await other.query('DROP TABLE node_late')
  await other.end()
  await client.end()
}

async function pool() {
  const pool = new Pool({ max: 50 })
  const pids = numbers(50).map(() => new Set())
  const work = async (number) => {
    const client = await pool.connect()
    try {
      for (const turn of numbers(20)) {
        await client.query('BEGIN')
        const { rows } = await client.query({ name: 'who', text: 'SELECT $1::int AS n, pg_backend_pid() AS pid', values: [number] })
        await client.query('COMMIT')
        if (rows[0].n !== number) fail('a Pool of 50', `client ${number} got ${rows[0].n}`)
        pids[number].add(rows[0].pid)
      }
    } finally {
      client.release()
    }
  }
  await Promise.all(numbers(50).map(work))
  sharedServers('a Pool of 50', pids)
  same('2,000 queries by Pool.query', numbers(2000), await Promise.all(numbers(2000).map(async (i) => (
    await pool.query('SELECT $1::int AS i', [i])).rows[0].i)))
  await pool.end()
}

async function copies() {
  const client = await connect()
  await client.query('CREATE TABLE node_copy (id int, name text)')
  const rows = function* () {
    for (const i of numbers(100000)) yield `${i}\tname ${i}\n`
  }
  const into = client.query(copyFrom('COPY node_copy FROM STDIN'))
  await pipeline(Readable.from(rows()), into)
  same('COPY FROM STDIN', [100000, '100000'], [into.rowCount, await value(client, 'SELECT count(*) FROM node_copy')])
  let lines = 0
  await pipeline(client.query(copyTo('COPY node_copy TO STDOUT (FORMAT csv)')), new Writable({
    write(chunk, _, done) {
      for (const byte of chunk) if (byte === 10) lines++
      done()
    },
  }))
  same('COPY TO STDOUT', 100000, lines)
  const bad = errorOf(pipeline(Readable.from(['1\tone\n', 'two\ttwo\n', '3\tthree\n'.repeat(50000)]), client.query(copyFrom('COPY node_copy FROM STDIN'))))
  same('bad COPY data', '22P02', (await bad).code)
  same('COPY of a missing table', '42P01', (await errorOf(pipeline(Readable.from(['x']), client.query(copyFrom('COPY missing FROM STDIN'))))).code)
  same('and the session goes on', '100000', await value(client, 'SELECT count(*) FROM node_copy'))
  await client.query('BEGIN')
  const gone = client.query(copyFrom('COPY node_copy FROM STDIN'))
  gone.on('error', () => {})
  gone.write('7\tseven\n')
  await new Promise((resolve) => { gone.once('close', resolve); gone.destroy(new Error('given up')) })
  await client.query('ROLLBACK')
  same('the client gives a COPY up', '100000', await value(client, 'SELECT count(*) FROM node_copy'))
  await client.query('DROP TABLE node_copy')
  await client.end()
}

async function cursors() {
  const client = await connect()
  const cursor = client.query(new Cursor('SELECT i FROM generate_series(1, $1::int) i', [1000]))
  let total = 0
  for (let rows = await cursor.read(70); rows.length; rows = await cursor.read(70)) total += rows.length
  same('a cursor outside of a transaction', 1000, total)
  await client.query('BEGIN')
  const early = client.query(new Cursor('SELECT i FROM generate_series(1, 100000) i'))
  same('its first rows', [1, 2, 3], (await early.read(3)).map((row) => row.i))
  await early.close()
  await client.query('COMMIT')
  const wrong = client.query(new Cursor('SELECT 1/(5 - i) FROM generate_series(1, 10) i'))
  same('an error while reading', '22012', (await errorOf(wrong.read(100))).code)
  same('and the session goes on', 1, await value(client, 'SELECT 1'))
  const work = async (number) => {
    const mine = await connect()
    for (let turn = 0; turn < 10; turn++) {
      const cursor = mine.query(new Cursor('SELECT $1::int AS n FROM generate_series(1, 200)', [number]))
      let got = 0
      for (let rows = await cursor.read(30); rows.length; rows = await cursor.read(30)) {
        if (rows.some((row) => row.n !== number)) fail('cursors', `client ${number} got somebody else's rows`)
        got += rows.length
      }
      if (got !== 200) fail('cursors', `client ${number} got ${got} rows`)
    }
    await mine.end()
  }
  await Promise.all(numbers(2 * POOL_SIZE).map(work))
  ok('cursors of 8 clients at once')
  await client.end()
}

async function cancels() {
  const other = await connect()
  const asleep = async (mark) => {
    const until = Date.now() + 20000
    while (await value(other, "SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE $1 AND wait_event = 'PgSleep'", [`%${mark}`]) === 0) {
      if (Date.now() > until) fail('cancel', `the query ${mark} does not begin`)
    }
  }
  const busy = { stop: false }
  const bystander = async (number) => {
    const mine = await connect()
    for (let turn = 0; !busy.stop; turn++) {
      const got = (await mine.query('SELECT $1::int AS turn, pg_sleep(0.002)', [turn])).rows[0].turn
      if (got !== turn) fail('cancel among others', `client ${number} got ${got}`)
    }
    await mine.end()
  }
  const others = numbers(2 * POOL_SIZE - 1).map(bystander)
  for (const turn of numbers(10)) {
    const client = await connect()
    const mark = `-- node ${turn}`
    const began = Date.now()
    const query = errorOf(client.query(`SELECT pg_sleep(60), pg_backend_pid() ${mark}`))
    await asleep(mark)
    await cancel(client)
    if ((await query).code !== '57014') fail('cancel', (await query).message)
    if (Date.now() - began > 20000) fail('cancel', 'too late')
    if ((await value(client, 'SELECT 1')) !== 1) fail('cancel', 'the session does not go on')
    await client.end()
  }
  busy.stop = true
  await Promise.all(others)
  ok('10 cancels hit their own query (57014) and nobody else, sessions go on')
  await other.end()
}

// The driver's own way to ask for it: a new connection that sends the key of `client`.
function cancel(client) {
  return new Promise((resolve, reject) => {
    const { connection } = new Client()
    connection.on('connect', () => connection.cancel(client.processID, client.secretKey))
    connection.on('error', reject)
    connection.on('end', resolve)
    connection.stream.on('close', resolve)
    connection.connect(client.port, client.host)
  })
}

async function transactions() {
  const client = await connect()
  await client.query('CREATE TABLE node_tx (id int PRIMARY KEY)')
  await client.query('BEGIN')
  await client.query('INSERT INTO node_tx VALUES ($1)', [1])
  await client.query('SAVEPOINT a')
  same('a duplicate', '23505', (await errorOf(client.query('INSERT INTO node_tx VALUES ($1)', [1]))).code)
  same('in a failed transaction', '25P02', (await errorOf(client.query('SELECT 1'))).code)
  await client.query('ROLLBACK TO a')
  await client.query('COMMIT')
  same('committed', '1', await value(client, 'SELECT count(*) FROM node_tx'))
  await client.query('BEGIN')
  await client.query('INSERT INTO node_tx VALUES ($1)', [2])
  await client.query('ROLLBACK')
  same('rolled back', '1', await value(client, 'SELECT count(*) FROM node_tx'))
  await client.query("SET timezone = 'Asia/Tokyo'")
  const work = async (number) => {
    const mine = await connect()
    await mine.query(`SET application_name = 'node ${number}'`)
    for (const turn of numbers(30)) {
      await mine.query('BEGIN')
      const name = await value(mine, 'SHOW application_name')
      const zone = await value(mine, 'SHOW timezone')
      await mine.query('COMMIT')
      if (name !== `node ${number}` || zone === 'Asia/Tokyo') fail('settings', `client ${number} has ${name}, ${zone}`)
    }
    await mine.end()
  }
  await Promise.all(numbers(2 * POOL_SIZE).map(work))
  same('settings stay with their session', 'Asia/Tokyo', await value(client, 'SHOW timezone'))
  await client.query('DROP TABLE node_tx')
  await client.end()
}

async function console_() {
  const client = await connect({ database: 'howdah' })
  const pools = await client.query('SHOW POOLS')
  same('the console in the simple protocol', 'app', pools.rows.map((row) => row.database).find((name) => name === 'app'))
  const lists = await client.query({ name: 'lists', text: 'SHOW LISTS', values: [] })
  same('and the extended', 2, lists.rows.find((row) => row.list === 'databases').items)
  same('what is not known', '42601', (await errorOf(client.query('SHOW NOTHING'))).code)
  await client.end()
}

async function main() {
  console.log(`node-postgres ${require('pg/package.json').version} on node ${process.version}`)
  for (const part of [queries, named, pool, copies, cursors, cancels, transactions, console_]) await part()
}
main().catch((error) => fail('driver', error.stack))
