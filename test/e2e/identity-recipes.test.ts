import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import getPort from 'get-port'
import { parse, stringify } from 'yaml'
import { z } from 'zod'
import { defaultGatewayOptions } from '../../emulator/options.ts'
import { openHttpBrowser } from '../support/http-browser.ts'
import { gitlabClaims, kubernetesClaims } from '../support/identity/claims.ts'
import { startGitHubActions } from '../support/identity/github-actions.ts'
import { type Claims, startIssuer, type TestIssuer } from '../support/identity/issuer.ts'
import { startMetadataServer } from '../support/identity/metadata-server.ts'
import { projectToken } from '../support/identity/projected-token.ts'
import { ACCOUNTS, startProvider } from '../support/identity/provider.ts'
import { startSts } from '../support/identity/sts.ts'
import { long } from '../support/long.ts'
import { readBlocks } from '../support/recipe-blocks.ts'
import { runIn, which } from '../support/recipes.ts'
import { dataPlane, type Service, startService, tempDir } from '../support/service.ts'

/** The address of the service in the document. */
const WRITTEN = 'https://keys.example.com'
const START = '\n## Without a bootstrap token'

const document = readFileSync(join(import.meta.dirname, '../../docs/recipes.md'), 'utf8')
const blocks = readBlocks(document.slice(document.indexOf(START)))

/** The recipes, in the order of the document, with the languages of their blocks: the trust file, then the caller's part. */
const RECIPES = {
  'GitHub Actions without a secret': ['yaml', 'yaml'],
  'GitLab CI/CD': ['yaml', 'yaml'],
  Kubernetes: ['yaml', 'yaml'],
  AWS: ['yaml', 'sh', 'js'],
  'Google Cloud': ['yaml', 'sh'],
  'Log in and get a key': ['yaml', 'sh'],
} as const
type Heading = keyof typeof RECIPES

test('every code block of the recipes without a bootstrap token is run here', () => {
  assert.deepEqual(
    blocks.map(({ heading, language }) => [heading, language]),
    Object.entries(RECIPES).flatMap(([heading, languages]) =>
      languages.map((language) => [heading, language]),
    ),
  )
})

const trustFile = z.strictObject({
  issuers: z.record(z.string(), z.looseObject({ kind: z.string(), issuer: z.string().optional() })),
  rules: z.array(z.looseObject({ id: z.string() })),
})

/** A service that trusts, by the trust files of all recipes, local issuers in place of the real ones. */
interface World {
  readonly service: Service
  readonly issuers: Readonly<Record<'github' | 'gitlab' | 'cluster' | 'aws' | 'google', TestIssuer>>
  /** Returns a block of a recipe as a reader would write it for this service. @param index 1: the first after the trust file */
  block(heading: Heading, index: number): string
}

const URLS = {
  github: 'https://token.actions.githubusercontent.com',
  gitlab: 'https://gitlab.com',
  google: 'https://accounts.google.com',
}

async function startWorld(t: TestContext): Promise<World> {
  const port = await getPort()
  const url = `http://127.0.0.1:${port}`
  const written = Object.keys(RECIPES).map((heading) => {
    const { code = '' } = blocks.find((block) => block.heading === heading) ?? {}
    assert.ok(code.trim().split('\n').length <= 8, `the trust file of ${heading} is short`)
    return trustFile.parse(parse(code))
  })
  const trust = {
    issuers: Object.assign({}, ...written.map(({ issuers }) => issuers)) as z.infer<
      typeof trustFile
    >['issuers'],
    rules: written.flatMap(({ rules }) => rules),
  }
  const start = async (name: keyof World['issuers']) => {
    const issuer = trust.issuers[name]
    assert.ok(issuer)
    const local = await startIssuer(t, {
      url: issuer.issuer ?? URLS[name as keyof typeof URLS],
      alg: 'RS256',
      audience: url,
    })
    trust.issuers[name] = { ...issuer, jwks_uri: local.jwksUri }
    return local
  }
  const issuers = {
    github: await start('github'),
    gitlab: await start('gitlab'),
    cluster: await start('cluster'),
    aws: await start('aws'),
    google: await start('google'),
  }
  issuers.aws.addKey('ES384')
  const provider = await startProvider({ redirectUris: [`${url}/connect/callback`] })
  t.after(() => provider.close())
  trust.issuers['staff'] = {
    ...z.looseObject({ kind: z.string() }).parse(trust.issuers['staff']),
    issuer: provider.issuer,
  }
  const file = join(tempDir(t), 'trust.yaml')
  writeFileSync(file, stringify(trust))
  const service = await startService(t, {
    env: { PORT: String(port), PUBLIC_URL: url, TRUST_FILE: file, OIDC_SECRET: provider.clientSecret },
  })
  return {
    service,
    issuers,
    block(heading, index) {
      const { code } = blocks.filter((block) => block.heading === heading)[index] ?? assert.fail()
      return code.replaceAll(WRITTEN, url)
    },
  }
}

interface Ended {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** Asserts that `firstkey.env` has a working key, and that the output has no secret. */
async function assertKey({ service }: World, dir: string, ended: Ended): Promise<void> {
  assert.equal(ended.exitCode, 0, ended.stdout + ended.stderr)
  const file = join(dir, 'firstkey.env')
  assert.equal(statSync(file).mode & 0o777, 0o600)
  const names = ['FIRSTKEY_API_KEY', 'FIRSTKEY_MANAGEMENT_TOKEN']
  const script = `. ./firstkey.env; printf '%s\\n' ${names.map((name) => `"$${name}"`).join(' ')}`
  const [key = '', token = ''] = (await runIn(dir, ['sh', '-euc', script], {})).stdout.split('\n')
  assert.equal(await dataPlane(service, key), 200)
  const shown = ended.stdout.replaceAll(/^::add-mask::.*$/gm, '') + ended.stderr
  for (const secret of [key, token]) assert.ok(secret !== '' && !shown.includes(secret), 'a secret is shown')
  assert.doesNotMatch(shown, /eyJ/)
}

/** Asserts that the output of a refused caller says what the operator has to be given. */
function assertRefused({ exitCode, stdout, stderr }: Ended): void {
  assert.notEqual(exitCode, 0)
  assert.match(stdout + stderr, /firstkey trust explain/)
  assert.match(stdout + stderr, /\breq_\w+/)
}

function emptyDir(t: TestContext): string {
  const dir = join(tempDir(t), 'here')
  mkdirSync(dir)
  return dir
}

const workflow = z.object({
  jobs: z.object({
    agent: z.object({
      environment: z.string(),
      permissions: z.record(z.string(), z.string()),
      steps: z.array(z.strictObject({ name: z.string(), run: z.string() })),
    }),
  }),
})

/** Runs the workflow as a runner does: each step is a file for `bash -e`. */
async function runWorkflow(t: TestContext, world: World, claims: Claims) {
  const { environment, permissions, steps } = workflow.parse(
    parse(world.block('GitHub Actions without a secret', 1)),
  ).jobs.agent
  assert.equal(permissions['id-token'], 'write')
  const actions = await startGitHubActions(t, world.issuers.github)
  actions.claims = { environment, ...claims }
  const dir = emptyDir(t)
  let ended: Ended = { exitCode: 0, stdout: '', stderr: '' }
  for (const { run } of steps) {
    writeFileSync(join(dir, 'step.sh'), run)
    const { exitCode, stdout, stderr } = await runIn(dir, ['bash', '-e', 'step.sh'], actions.env)
    ended = { exitCode, stdout: ended.stdout + stdout, stderr: ended.stderr + stderr }
    if (exitCode !== 0) break
  }
  return { dir, ended }
}

const pipeline = z.object({
  agent: z.strictObject({
    image: z.string(),
    id_tokens: z.record(z.string(), z.object({ aud: z.string() })),
    script: z.array(z.string()),
  }),
})

/** Runs the script of the job in one shell, with its ID tokens as variables. */
async function runPipeline(t: TestContext, world: World, claims: Claims) {
  const { id_tokens, script } = pipeline.parse(parse(world.block('GitLab CI/CD', 1))).agent
  const tokens = Object.entries(id_tokens).map(([name, { aud }]) => [
    name,
    world.issuers.gitlab.sign(gitlabClaims({ ...claims, aud })),
  ])
  const dir = emptyDir(t)
  const env = { GITLAB_CI: 'true', CI_PROJECT_PATH: 'acme/agents', ...Object.fromEntries(tokens) }
  return { dir, ended: await runIn(dir, ['bash', '-eo', 'pipefail', '-c', script.join('\n')], env) }
}

const mount = z.object({ name: z.string(), mountPath: z.string() })
const container = z.object({
  command: z.array(z.string()),
  env: z
    .array(z.object({ name: z.string(), value: z.string().optional(), valueFrom: z.unknown().optional() }))
    .default([]),
  volumeMounts: z.array(mount),
})
const pod = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string() }),
  spec: z.object({
    serviceAccountName: z.string(),
    initContainers: z.tuple([container]),
    containers: z.tuple([container]),
    volumes: z.array(z.looseObject({ name: z.string() })),
  }),
})
const projected = z.object({
  projected: z.object({
    sources: z.tuple([
      z.object({
        serviceAccountToken: z.object({
          path: z.literal('token'),
          audience: z.string(),
          expirationSeconds: z.number().min(600),
        }),
      }),
    ]),
  }),
})

/** Prepares the pod: its volumes are folders, and the paths of its mounts become theirs. */
function preparePod(t: TestContext, world: World, namespace?: string) {
  const { metadata, spec } = pod.parse(parse(world.block('Kubernetes', 1)))
  const root = tempDir(t)
  const dirOf = (volume: string) => join(root, volume)
  const identity = spec.volumes.find((volume) => 'projected' in volume) ?? assert.fail()
  const { audience, expirationSeconds } = projected.parse(identity).projected.sources[0].serviceAccountToken
  const replaceToken = () => {
    const now = Math.floor(Date.now() / 1000)
    const claims = { aud: [audience], iat: now, exp: now + expirationSeconds }
    const account = kubernetesClaims(namespace ?? metadata.namespace, spec.serviceAccountName, claims)
    projectToken(dirOf(identity.name), world.issuers.cluster.sign(account))
  }
  for (const { name } of spec.volumes) mkdirSync(dirOf(name))
  replaceToken()
  const run = ({ command, env, volumeMounts }: z.infer<typeof container>) => {
    const volumeAt = new Map(volumeMounts.map(({ name, mountPath }) => [mountPath, name]))
    const paths = RegExp(`(?<![\\w/])(${[...volumeAt.keys()].join('|')})(?!\\w)`, 'g')
    const inFolders = (written: string) =>
      written.replaceAll(paths, (path) => dirOf(volumeAt.get(path) ?? ''))
    const variables = env.map(({ name, value }) => [name, inFolders(value ?? metadata.name)])
    return runIn(dirOf('key'), command.map(inFolders), Object.fromEntries(variables))
  }
  const [init] = spec.initContainers
  const [main] = spec.containers
  return { dir: dirOf('key'), replaceToken, init: () => run(init), main: () => run(main) }
}

const AWS_ENV = {
  AWS_REGION: defaultGatewayOptions.region,
  AWS_ACCESS_KEY_ID: defaultGatewayOptions.accessKeyId,
  AWS_SECRET_ACCESS_KEY: defaultGatewayOptions.secretAccessKey,
}

async function runAwsCli(t: TestContext, world: World, claims: Claims) {
  const dir = emptyDir(t)
  const env = { ...AWS_ENV, AWS_ENDPOINT_URL_STS: await startSts(t, world.issuers.aws, claims), HOME: dir }
  return { dir, ended: await runIn(dir, ['sh', '-c', world.block('AWS', 1)], env) }
}

const HANDLER = `
const { apiKey } = await import('./firstkey.mjs')
try {
  const key = await apiKey()
  console.log(JSON.stringify([key, await apiKey()]))
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
`

async function runLambda(t: TestContext, world: World, claims: Claims): Promise<Ended> {
  const dir = emptyDir(t)
  writeFileSync(join(dir, 'firstkey.mjs'), world.block('AWS', 2))
  symlinkSync(join(import.meta.dirname, '../../node_modules'), join(dir, 'node_modules')) // The SDK of the runtime.
  const sts = await startSts(t, world.issuers.aws, claims)
  const env = { ...AWS_ENV, AWS_ENDPOINT_URL_STS: sts, AWS_LAMBDA_FUNCTION_NAME: 'process-data', HOME: dir }
  return runIn(dir, ['node', '--input-type=module', '--eval', HANDLER], env)
}

async function runInGoogleCloud(t: TestContext, world: World, claims: Claims) {
  const dir = emptyDir(t)
  const home = tempDir(t)
  const server = await startMetadataServer(t, world.issuers.google, claims)
  writeFileSync(join(home, '.curlrc'), `connect-to = "metadata.google.internal:80:${server}"\n`)
  return { dir, ended: await runIn(dir, ['sh', '-c', world.block('Google Cloud', 1)], { HOME: home }) }
}

/** Runs the script as a person does: opens the address that it prints, logs in, and types the code that the page shows. */
async function runLogin(t: TestContext, world: World, login: keyof typeof ACCOUNTS) {
  const dir = emptyDir(t)
  const child = spawn('sh', ['-c', world.block('Log in and get a key', 1)], {
    cwd: dir,
    env: { PATH: process.env['PATH'], HOME: dir },
  })
  t.after(() => child.kill('SIGKILL'))
  const stdout = text(child.stdout)
  const ended = once(child, 'close')
  let stderr = ''
  for await (const chunk of child.stderr.setEncoding('utf8')) {
    stderr += chunk
    const [address] = String(chunk).match(/http\S+\/connect\/authorize\?\S+/) ?? []
    if (address === undefined) continue
    const browser = openHttpBrowser()
    const { password } = ACCOUNTS[login]
    const page = await browser.submit(await browser.get(address), { login, password })
    const { body } = await browser.submit(page, { decision: 'allow' })
    const [, code] = body.match(/<pre id="code"><code>([^<]+)/) ?? assert.fail(body)
    child.stdin.end(`${code}\n`)
  }
  const [exitCode] = await ended
  return { dir, ended: { exitCode: Number(exitCode), stdout: await stdout, stderr } }
}

const aws = which('aws') === undefined ? { skip: 'aws is not installed (.ci/aws-cli does this)' } : {}

test('docs/recipes.md without a bootstrap token, as pasted, with an issuer for each platform', {
  ...long,
  concurrency: 4,
}, async (t) => {
  const world = await startWorld(t)
  const cases: [
    name: string,
    run: (t: TestContext, claims: Claims) => Promise<{ dir: string; ended: Ended }>,
    stranger: Claims,
    options?: { skip?: string },
  ][] = [
    ['GitHub Actions', (t, claims) => runWorkflow(t, world, claims), { repository_id: '43' }],
    ['GitLab CI/CD', (t, claims) => runPipeline(t, world, claims), { project_id: '1' }],
    [
      'AWS (aws)',
      (t, claims) => runAwsCli(t, world, claims),
      { sub: 'arn:aws:iam::123456789012:role/other' },
      aws,
    ],
    ['Google Cloud', (t, claims) => runInGoogleCloud(t, world, claims), { sub: '1' }],
  ]
  await Promise.all([
    ...cases.map(([name, run, stranger, options = {}]) =>
      t.test(name, options, async (t) => {
        const { dir, ended } = await run(t, {})
        await assertKey(world, dir, ended)
        assertRefused((await run(t, stranger)).ended)
      }),
    ),
    t.test('GitHub Actions: the second step has used the key', async (t) => {
      const { ended } = await runWorkflow(t, world, {})
      assert.match(ended.stdout, /Hello from the demo API/)
      assert.equal(ended.stdout.match(/^::add-mask::\S+$/gm)?.length, 2)
    }),
    t.test('Kubernetes, with a token that the kubelet replaces', async (t) => {
      const { cluster } = world.issuers
      cluster.behaviour = 'failing'
      const pod = preparePod(t, world)
      const registering = pod.init()
      while (cluster.requests.jwks === 0) await sleep(20)
      cluster.rotate() // The first token is signed with a key that is gone when the issuer is back.
      pod.replaceToken()
      cluster.behaviour = 'up'
      await assertKey(world, pod.dir, await registering)
      assert.match((await pod.main()).stdout, /Hello from the demo API/)
      assertRefused(await preparePod(t, world, 'elsewhere').init())
    }),
    t.test('AWS Lambda', async (t) => {
      const { exitCode, stdout, stderr } = await runLambda(t, world, {})
      assert.equal(exitCode, 0, stdout + stderr)
      const [key, again] = z.tuple([z.string(), z.string()]).parse(JSON.parse(stdout))
      assert.equal(await dataPlane(world.service, key), 200)
      assert.equal(again, key, 'one execution environment has one key')
      assertRefused(await runLambda(t, world, { sub: 'arn:aws:iam::123456789012:role/other' }))
    }),
    t.test('Log in and get a key', async (t) => {
      const { dir, ended } = await runLogin(t, world, 'alice')
      await assertKey(world, dir, ended)
    }),
  ])
})
