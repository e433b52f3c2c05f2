import assert from 'node:assert/strict'
import { Agent, request as httpRequest } from 'node:http'
import { type TestContext, test } from 'node:test'
import { readVisibleText } from '../../src/auth/visible-text.ts'
import { readIdempotencyKey } from '../../src/http/idempotency-key.ts'
import { readWait } from '../../src/http/prefer.ts'
import { redact } from '../../src/log.ts'
import { clientMetadata } from '../../src/routes/connect-schema.ts'
import { registerBody } from '../../src/routes/register-schema.ts'
import { usageQuery } from '../../src/routes/usage-schema.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { readProblem } from '../support/problem.ts'
import { runCli, startServer } from '../support/server-process.ts'
import { registered, serverEnv, startService, tempDir, testGateway } from '../support/service.ts'

/** The longest input that a server accepts, in characters: all headers together, or the body. */
const LONGEST = 16_000
/** The processor time (ms) that one text may cost its parser, and one request the service with its client. */
const PARSER_LIMIT_MS = 5
const REQUEST_LIMIT_MS = 10
/** The cost above which it must not grow faster than the text (ms); below it the clock is too coarse to tell. */
const GROWTH_FROM_MS = 1

/** What the grammars of headers, URLs and names repeat, nest, separate, quote and escape. */
const PIECES = [
  ...[
    ',',
    ';',
    '=',
    '"',
    '\\',
    ' ',
    '\t',
    '/',
    'a',
    '1',
    '.',
    ':',
    '%',
    '&',
    '[',
    '{',
    '\u00e9',
    '_',
    '-',
    'fkb_',
  ],
  ...[
    'a,',
    '",',
    ', ',
    '; ',
    '\\"',
    '\\\\',
    '"a',
    '""',
    'a=',
    'a=b;',
    'a="',
    ';a="\\',
    '*/*,',
    'a/b;c="d,',
    'q=0,',
  ],
  ...[
    'wait=',
    'wait = ',
    'wait="1"',
    'bearer ',
    'Bearer  ',
    '1.1.1.1,',
    '::1,',
    '%zz',
    '%41',
    'a&',
    'a=1&',
    'a b ',
  ],
]
const STARTS = ['', '"', 'a/b;', 'wait=', 'Bearer ', '{"a":', '[']
const ENDS = ['', '"', '!', ' ', 'a']

/** Every piece, repeated up to `size` characters, between each start and each end. */
function* repeatedPieces(size: number, starts = STARTS, ends = ENDS): Generator<string> {
  for (const piece of PIECES)
    for (const start of starts) for (const end of ends) yield start + repeated(piece, size) + end
}

/** Fewer texts, for tests that send each of them in requests. */
const textsToSend = () => repeatedPieces(LONGEST - 1_000, ['', '"'], ['', '!'])

/** Every two pieces, repeated in turns up to `size` characters. */
function* alternatingPieces(size: number): Generator<string> {
  for (const one of PIECES) for (const other of PIECES) yield repeated(one + other, size)
}

const repeated = (piece: string, size: number) => piece.repeat(size / piece.length)

/**
 * Returns the processor time of `work` (ms): of one run if that is below `enough`, otherwise the least of many, because
 * garbage collection, compilation and other processes only ever add to it.
 */
async function cost(work: () => unknown, enough: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let run = 0; run < 15 && least >= enough; run++) {
    const before = process.cpuUsage()
    await work()
    const { user, system } = process.cpuUsage(before)
    least = Math.min(least, (user + system) / 1_000)
  }
  return least
}

const start = (text: string) => JSON.stringify(text.slice(0, 60))

const parsers: Record<string, (text: string) => unknown> = {
  Prefer: readWait,
  'Idempotency-Key': (text) => {
    try {
      readIdempotencyKey(text)
    } catch {
      // Most of the texts are not valid.
    }
  },
  'a registration': (text) => registerBody.safeParse({ name: text, description: text, plan: text }),
  'a label': (text) => readVisibleText(text, 100),
  'client metadata': (text) => clientMetadata.safeParse({ client_name: text, redirect_uris: [text] }),
  'a range of usage': (text) => usageQuery.safeParse({ from: text, to: text }),
  'a log line': redact,
}

for (const [name, parse] of Object.entries(parsers)) {
  test(`parsing ${name}: no text costs more than ${PARSER_LIMIT_MS} ms, or more than in proportion to its length`, async () => {
    for (const texts of [repeatedPieces, alternatingPieces]) {
      for (const text of texts(LONGEST)) {
        const whole = await cost(() => parse(text), GROWTH_FROM_MS)
        assert.ok(whole < PARSER_LIMIT_MS, `${start(text)}…: ${whole} ms`)
        if (whole <= GROWTH_FROM_MS) continue
        const quarter = await cost(() => parse(text.slice(0, LONGEST / 4)), 0)
        assert.ok(whole < 8 * quarter, `${start(text)}…: ${quarter} ms for a quarter, ${whole} ms for all`)
      }
    }
  })
}

interface Sent {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
}

/** Starts the service with a revoked token, a token that no request of these tests can use, and a registration. */
async function hostileService(t: TestContext) {
  const service = await startService(t, { env: { TRUST_PROXY: '3' } })
  const revoked = await service.token()
  await service.deps.store.revokeToken(revoked.token.id, SERVICE, Date.now())
  const { secret } = await service.token({ namePrefix: 'other-' })
  const own = await registered(service)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  const send = (path: string, { body, ...options }: Sent) =>
    new Promise<number | undefined>((resolve, reject) => {
      httpRequest(`${service.url}${path}`, { agent, ...options })
        .on('response', (answer) => answer.resume().on('end', () => resolve(answer.statusCode)))
        .on('error', reject)
        .end(body)
    })
  return {
    revoked: revoked.secret,
    secret,
    own,
    /** Asserts that a request of `what` costs less than {@link REQUEST_LIMIT_MS}. */
    async assertCheap(what: string, path: string, request: Sent) {
      const ms = await cost(() => send(path, request), REQUEST_LIMIT_MS)
      assert.ok(ms < REQUEST_LIMIT_MS, `${path.slice(0, 40)} with ${what}: ${ms} ms`)
    },
  }
}

const JSON_TYPE = 'application/json'
const HEADERS = [
  'prefer',
  'accept',
  'content-type',
  'idempotency-key',
  'authorization',
  'x-forwarded-for',
  'host',
]

for (const header of HEADERS) {
  test(`no value of ${header} costs more than ${REQUEST_LIMIT_MS} ms, with a revoked token, another, or none`, async (t) => {
    const { assertCheap, revoked, secret } = await hostileService(t)
    for (const text of textsToSend()) {
      const hostile = { [header]: text.trim() }
      for (const token of [revoked, secret]) {
        const headers = { authorization: `Bearer ${token}`, 'content-type': JSON_TYPE, ...hostile }
        await assertCheap(start(text), '/register', {
          method: 'POST',
          headers,
          body: '{"name":"acme-agent"}',
        })
      }
      await assertCheap(start(text), '/', { headers: hostile })
    }
  })
}

test(`no URL costs more than ${REQUEST_LIMIT_MS} ms`, async (t) => {
  const { assertCheap, own } = await hostileService(t)
  const headers = { authorization: `Bearer ${own.management.token}` }
  const usage = `/register/${own.registration_id}/usage?`
  for (const text of textsToSend()) {
    const part = text.replaceAll(/[^\x21-\x7e]|["\\]/g, '+')
    for (const path of ['/', '/?', '/register/', '/problems/', '/assets/', usage])
      await assertCheap(start(part), path + part, { headers })
  }
})

/** Joins as many of the items as a body may have. */
function joined(item: (i: number) => string): string {
  const items: string[] = []
  for (let i = 0, size = 0; size < LONGEST - 100; size += item(i++).length + 1) items.push(item(i))
  return items.join()
}

const bodies: Record<string, string> = {
  'nested arrays': '['.repeat(LONGEST / 2) + ']'.repeat(LONGEST / 2),
  'nested objects': `${'{"a":'.repeat(LONGEST / 6)}0${'}'.repeat(LONGEST / 6)}`,
  'unknown fields': `{${joined((i) => `"${i}":0`)}}`,
  'repeated fields': `{${joined(() => '"name":0')}}`,
  'wrong items': `{"client_name":"a","redirect_uris":[${joined(() => '1')}]}`,
  prototypes: `[${joined(() => '{"__proto__":0}')}]`,
  'a prototype after blanks': `{"__proto__"${' '.repeat(LONGEST - 100)}:0}`,
  'a nested prototype': `${'{"a":'.repeat(LONGEST / 7)}{"__proto__":1}${'}'.repeat(LONGEST / 7)}`,
  escapes: `{"name":"${repeated('\\u0061', LONGEST - 100)}"}`,
  'a long name': `{"name":"${repeated('a ', LONGEST - 100)}"}`,
  'a long number': `{"name":${'9'.repeat(LONGEST - 100)}}`,
}

test(`no body costs more than ${REQUEST_LIMIT_MS} ms`, async (t) => {
  const { assertCheap, secret, own } = await hostileService(t)
  for (const [what, body] of Object.entries(bodies)) {
    for (const [path, token] of [
      ['/register', secret],
      ['/connect/register', secret],
      [`/register/${own.registration_id}/rotate`, own.management.token],
    ] as const) {
      const headers = { authorization: `Bearer ${token}`, 'content-type': JSON_TYPE }
      await assertCheap(what, path, { method: 'POST', headers, body })
    }
  }
})

test('an Accept or a Prefer of more than 1,024 characters counts as absent', async (t) => {
  const { url } = await startService(t)
  const typeFor = async (accept: string) =>
    (await fetch(url, { headers: { accept } })).headers.get('content-type')
  const padded = (length: number) => 'text/html, a/b;c='.padEnd(length, 'd')
  assert.match((await typeFor(padded(1_024))) ?? '', /^text\/html/)
  assert.match((await typeFor(padded(1_025))) ?? '', /^text\/plain/)
})

test('a token that can no longer be used is rejected before the body, unless the request can be a retry', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now })
  const revoked = await service.token()
  await service.deps.store.revokeToken(revoked.token.id, SERVICE, now)
  const expired = await service.token({ expiresAt: now + 1_000 })
  const retry = { 'idempotency-key': 'a-key-of-16-characters' }
  assert.equal((await service.register(expired.secret, undefined, retry)).status, 201)
  now += 1_000
  const code = async (answer: Response) => (await readProblem(answer)).code
  assert.equal(await code(await service.register(revoked.secret, { name: 7 })), 'token_revoked')
  assert.equal(await code(await service.register(revoked.secret, { name: 7 }, retry)), 'token_revoked')
  assert.equal(await code(await service.register(expired.secret, { name: 7 })), 'token_expired')
  assert.equal((await service.register(expired.secret, undefined, retry)).status, 201)
})

test('invariant 7: /livez stays fast beside a flood of hostile headers with a revoked token', async (t) => {
  const env = serverEnv(await testGateway(t), tempDir(t))
  const { url } = await startServer(t, env)
  const secret = (await runCli(t, ['tokens', 'create', '--label', 'hostile'], env)).stdout.trim()
  const [{ id }] = JSON.parse((await runCli(t, ['tokens', 'list', '--json'], env)).stdout) as [{ id: string }]
  assert.equal((await runCli(t, ['tokens', 'revoke', id], env)).code, 0)
  const text = `"${repeated('",', 7_000)}`
  const hostile = Array.from({ length: 100 }, () =>
    fetch(`${url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, prefer: text, accept: text, 'content-type': JSON_TYPE },
      body: '{"name":"acme-agent"}',
    }),
  )
  const times: number[] = []
  for (let i = 0; i < 20; i++) {
    const sentAt = performance.now()
    assert.equal((await fetch(`${url}/livez`)).status, 200)
    times.push(performance.now() - sentAt)
  }
  assert.ok((await Promise.all(hostile)).every(({ status }) => status === 401))
  assert.ok(Math.max(...times) < 1_000, `${times.map(Math.round)} ms`)
})
