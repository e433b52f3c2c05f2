import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { isBuiltin, stripTypeScriptTypes } from 'node:module'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '..')
const src = join(root, 'src')

interface Import {
  readonly file: string
  /** `src/` relative for the project's own, otherwise the package's name. */
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

/** The rooms that each room may import from, besides itself and the files at the root of src/. */
const mayImport: Record<string, readonly string[]> = {
  routes: ['registration', 'http', 'auth', 'store', 'discovery', 'pages'],
  http: ['auth', 'store', 'discovery', 'pages'],
  registration: ['auth', 'aws', 'store'],
  auth: ['store'],
  aws: [],
  store: [],
  cli: ['registration', 'auth', 'store'],
  discovery: [],
  pages: ['registration', 'discovery'],
}

/** The phases of a registration: the stores import it, and it imports only the types of their records. */
const LIFECYCLE = 'registration/lifecycle.ts'

test('imports go one way between the rooms', () => {
  for (const { file, target } of imports) {
    if (!target.endsWith('.ts') || room(file) === '.' || room(target) === '.') continue
    if (target === LIFECYCLE && room(file) === 'store') continue
    const allowed = [room(file), ...(mayImport[room(file)] ?? [])]
    assert.ok(allowed.includes(room(target)), `src/${file} must not import src/${target}`)
  }
})

test('the SDK stays in aws/, and in the store on DynamoDB', () => {
  const users = imports.filter(
    ({ target }) => target.startsWith('@aws-sdk/') || target.startsWith('@smithy/'),
  )
  assert.ok(users.length > 0)
  for (const { file } of users)
    assert.ok(room(file) === 'aws' || /^store\/dynamodb(\.ts|\/)/.test(file), `src/${file}`)
})

test('Fastify stays in routes/ and http/, and with the app that wires them', () => {
  for (const { file, target } of imports.filter(({ target }) => /^@?fastify/.test(target))) {
    assert.ok(['routes', 'http'].includes(room(file)) || file === 'app.ts', `src/${file} imports ${target}`)
  }
})

test('only the process itself, its configuration and the commands read the environment', () => {
  for (const file of globSync('**/*.ts', { cwd: src })) {
    if (!/process\.env/.test(readFileSync(join(src, file), 'utf8'))) continue
    assert.ok(file === 'main.ts' || room(file) === 'cli', `src/${file} reads process.env`)
  }
})

/** The modules that a folder's files load at run time, by `import` or `createRequire`; type imports are erased. */
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

test('src/ imports nothing from emulator/, and emulator/ only the token bucket from src/', () => {
  const outside = imports.filter(({ target }) => target.startsWith('..')).map(({ target }) => target)
  assert.deepEqual([...new Set(outside)], ['../package.json'])
  const taken = loadedBy('emulator').filter((target) => target.startsWith('src/'))
  assert.deepEqual([...new Set(taken)], ['src/token-bucket.ts'])
})
