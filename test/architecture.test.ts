import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { isBuiltin, stripTypeScriptTypes } from 'node:module'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '..')
const src = join(root, 'src')

interface Import {
  readonly file: string
  /** The path within `src/` for a file of the project; otherwise the name of the package. */
  readonly target: string
}

const imports: Import[] = globSync('**/*.ts', { cwd: src }).flatMap((file) => {
  const text = readFileSync(join(src, file), 'utf8')
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(([, target = '']) => ({
    file,
    target: target.startsWith('.') ? normalize(join(dirname(file), target)) : target,
  }))
})

const room = (path: string) => (path.includes('/') ? path.split('/')[0] : '.') ?? ''

/** The folders that each folder may import from, besides itself. Files at the root of src/ have rules of their own. */
const mayImport: Record<string, readonly string[]> = {
  routes: ['registration', 'http', 'auth', 'store', 'discovery', 'pages'],
  http: ['auth', 'store', 'discovery', 'pages'],
  registration: ['auth', 'aws', 'store'],
  auth: ['store'],
  aws: [],
  store: [],
  setup: ['auth', 'aws', 'store'],
  cli: ['registration', 'setup', 'auth', 'aws', 'store'],
  discovery: [],
  metrics: [],
  pages: ['registration', 'discovery'],
}

/** The same for the folders of registration/. Its own files are use cases above them, or vocabulary below them. */
const mayImportWithin: Record<string, readonly string[]> = {
  mint: ['data-plane', 'idempotency'],
  pool: ['mint'],
  'data-plane': [],
  jobs: ['idempotency', 'pool'],
  queries: ['data-plane'],
  idempotency: [],
}

/** The phases of a registration, vocabulary of the stores too: it imports only the types of their records. */
const LIFECYCLE = 'registration/lifecycle.ts'

/** The limits and credentials of calls to AWS, whichever service is called: the DynamoDB store has them too. */
const SDK_CALLS = ['aws/http-handler.ts', 'aws/credentials.ts']

/** The files that wire everything, and who may import them. Every other file at the root of src/ imports no folder. */
const WIRING: Record<string, readonly string[]> = {
  'main.ts': [],
  'app.ts': ['main.ts'],
  'deps.ts': ['main.ts', 'app.ts', 'routes', 'cli'],
}

const own = imports.filter(({ target }) => target.endsWith('.ts'))

test('imports between the folders of src/ run in one direction', () => {
  for (const { file, target } of own) {
    if (room(file) === '.' || room(target) === '.') continue
    if (target === LIFECYCLE && room(file) === 'store') continue
    if (SDK_CALLS.includes(target) && file.startsWith('store/dynamodb/')) continue
    const allowed = [room(file), ...(mayImport[room(file)] ?? [])]
    assert.ok(allowed.includes(room(target)), `src/${file} must not import src/${target}`)
  }
})

test('imports between the folders of registration/ run in one direction', () => {
  const inner = (path: string) => path.match(/^registration\/([^/]+)\//)?.[1]
  for (const { file, target } of own) {
    const [from, to] = [inner(file), inner(target)]
    if (from === undefined || to === undefined || from === to) continue
    assert.ok(mayImportWithin[from]?.includes(to), `src/${file} must not import src/${target}`)
  }
})

test('a file at the root of src/ wires the others and has few importers, or imports no folder', () => {
  for (const { file, target } of own) {
    const importers = WIRING[target]
    const isAllowed = importers === undefined || importers.includes(file) || importers.includes(room(file))
    assert.ok(isAllowed, `src/${file} must not import src/${target}`)
    const isVocabulary = room(file) === '.' && WIRING[file] === undefined
    assert.ok(!isVocabulary || room(target) === '.', `src/${file} must not import src/${target}`)
  }
})

test('lifecycle.ts, which the stores import, imports only types from store/', () => {
  const text = readFileSync(join(src, LIFECYCLE), 'utf8')
  const code = stripTypeScriptTypes(text)
  assert.doesNotMatch(code, /^import/m)
  const targets = own.filter(({ file }) => file === LIFECYCLE).map(({ target }) => target)
  assert.deepEqual(targets.sort(), ['store/operators.ts', 'store/records.ts'])
})

test('the library for metrics is in metrics/ alone, which main.ts imports only where metrics are on', () => {
  const users = imports
    .filter(({ target }) => target === '@prometheus-io/client')
    .map(({ file }) => room(file))
  assert.deepEqual([...new Set(users)], ['metrics'])
  const importers = own.filter(({ file, target }) => room(target) === 'metrics' && room(file) !== 'metrics')
  assert.deepEqual([...new Set(importers.map(({ file }) => file))], ['main.ts'])
  const code = stripTypeScriptTypes(readFileSync(join(src, 'main.ts'), 'utf8'))
  assert.doesNotMatch(code, /from '\.\/metrics\//)
})

test('the pool is loaded only where there is one, or by commands: other files import its types alone', () => {
  const importers = own.filter(
    ({ file, target }) => target.includes('/pool/') && !/\/pool\/|^cli\//.test(file),
  )
  assert.ok(importers.length > 0)
  for (const { file } of importers) {
    const code = stripTypeScriptTypes(readFileSync(join(src, file), 'utf8'))
    assert.doesNotMatch(code, /from '[^']*\/pool\//, file)
  }
})

test('no file imports itself through others', () => {
  const targetsOf = new Map(Map.groupBy(own, ({ file }) => file))
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): void => {
    const start = path.indexOf(file)
    assert.equal(start, -1, `circle: ${[...path.slice(start), file].join(' → ')}`)
    if (done.has(file)) return
    for (const { target } of targetsOf.get(file) ?? []) visit(target, [...path, file])
    done.add(file)
  }
  for (const file of targetsOf.keys()) visit(file, [])
})

test('only aws/ and the DynamoDB store import the AWS SDK', () => {
  const users = imports.filter(
    ({ target }) => target.startsWith('@aws-sdk/') || target.startsWith('@smithy/'),
  )
  assert.ok(users.length > 0)
  for (const { file } of users)
    assert.ok(room(file) === 'aws' || /^store\/dynamodb(\.ts|\/)/.test(file), `src/${file}`)
})

test('only routes/, http/ and app.ts import Fastify', () => {
  for (const { file, target } of imports.filter(({ target }) => /^@?fastify/.test(target))) {
    assert.ok(['routes', 'http'].includes(room(file)) || file === 'app.ts', `src/${file} imports ${target}`)
  }
})

test('only main.ts and the commands read the environment', () => {
  for (const file of globSync('**/*.ts', { cwd: src })) {
    if (!/process\.env/.test(readFileSync(join(src, file), 'utf8'))) continue
    assert.ok(file === 'main.ts' || room(file) === 'cli', `src/${file} reads process.env`)
  }
})

/** Returns the modules that the files of a folder load at run time, by `import` or `createRequire`, without type imports. */
function loadedBy(folder: string): string[] {
  return globSync('**/*.{ts,js,mjs}', { cwd: join(root, folder) }).flatMap((file) => {
    const text = readFileSync(join(root, folder, file), 'utf8')
    const code = file.endsWith('.ts') ? stripTypeScriptTypes(text) : text
    const loads = /\b(?:from|import|createRequire\(import\.meta\.url\))\s*\(?\s*'([\w@./:-]+)'/g
    return [...code.matchAll(loads)].map(([, target = '']) =>
      target.startsWith('.') ? normalize(join(folder, dirname(file), target)) : target,
    )
  })
}

test('src/ loads exactly the production dependencies at run time', () => {
  const packages = loadedBy('src')
    .filter((target) => !isBuiltin(target) && !/^(src\/|package\.json$)/.test(target))
    .map((target) => target.match(/^(@[^/]+\/)?[^/]+/)?.[0])
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  assert.deepEqual([...new Set(packages)].sort(), Object.keys(dependencies).sort())
})

test('src/ imports nothing from emulator/, and emulator/ imports only the token bucket from src/', () => {
  const outside = imports.filter(({ target }) => target.startsWith('..')).map(({ target }) => target)
  assert.deepEqual([...new Set(outside)], ['../package.json'])
  const taken = loadedBy('emulator').filter((target) => target.startsWith('src/'))
  assert.deepEqual([...new Set(taken)], ['src/token-bucket.ts'])
})
