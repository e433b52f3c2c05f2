import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import getPort from 'get-port'
import { z } from 'zod'
import { startGateway } from '../emulator/gateway.ts'
import { defaultGatewayOptions } from '../emulator/options.ts'
import { ACCOUNT, registerByLogin, startIdentityProvider } from './login.ts'
import { indent, runSteps, say, useKey } from './steps.ts'

const USAGE = `usage: npm run demo -- [--login] [--once] [--port NUMBER]

  --login        register with a login in the browser, at an identity provider that
                 the demo starts too, instead of a bootstrap token
  --once         exit after the steps, instead of serving until Ctrl-C
  --port NUMBER  port of the service (default: 3000); 0, or a port in use: any free port
`
const options = readOptions()
/** The variables that the programs inherit. Others, such as AWS_PROFILE or STORE, could change what the demo does. */
const inherited = Object.fromEntries(
  ['PATH', 'HOME', 'TMPDIR', 'TEMP', 'SystemRoot'].flatMap((name) =>
    process.env[name] === undefined ? [] : [[name, process.env[name]]],
  ),
)
const root = join(import.meta.dirname, '..')
const dataDir = mkdtempSync(join(tmpdir(), 'firstkey-demo-'))
/** Aborted by Ctrl-C or another signal that ends the demo: then everything that it started is stopped. */
const ended = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => ended.abort())
/** The clean-up steps, which run in reverse order when the demo ends or fails. */
const cleanUp: (() => unknown)[] = [() => rmSync(dataDir, { recursive: true, force: true })]
/** Makes the demo's API, as an operator does on an account of AWS. */
const SETUP = [
  ...['setup', '--new', 'demo', '--plan', 'free=rate:5,burst:10,quota:1000/day'],
  ...['--plan', 'gold=rate:50,burst:100', '--yes'],
]
/** The number of keys that are made before anyone registers. */
const POOL_SIZE = 5
/** The part of the output of `firstkey setup --json` that the demo uses. */
const madeSchema = z.object({
  changes: z.array(z.object({ title: z.string() })),
  environment: z.object({ USAGE_PLANS: z.string(), API_BASE_URL: z.string(), API_PROBE_PATH: z.string() }),
})

/** Starts one of the project's programs on this runtime. */
function run(program: string, args: string[], env: NodeJS.ProcessEnv) {
  return spawn(process.execPath, [join(root, program), ...args], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

function readOptions(): { once: boolean; login: boolean; port: number } {
  try {
    const { once, login, port, help } = parseArgs({
      options: {
        once: { type: 'boolean', default: false },
        login: { type: 'boolean', default: false },
        port: { type: 'string', default: '3000' },
        help: { type: 'boolean', default: false },
      },
    }).values
    if (help) {
      console.log(USAGE)
      process.exit(0)
    }
    if (!/^\d{1,5}$/.test(port)) throw new Error('--port must be a number')
    return { once, login, port: Number(port) }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
    process.exit(2)
  }
}

async function main(): Promise<void> {
  const gateway = await startGateway({ restApis: [], plans: [] }, { port: await getPort({ port: 4000 }) })
  cleanUp.push(() => gateway.close())
  say(`API Gateway emulator on ${gateway.url}, with an empty account`)
  const { region, accessKeyId, secretAccessKey } = defaultGatewayOptions
  const aws = {
    ...inherited,
    AWS_ENDPOINT_URL_API_GATEWAY: gateway.url,
    AWS_REGION: region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  }
  const api = await setUpApi(aws)
  const apiUrl = api.API_BASE_URL + api.API_PROBE_PATH

  const port = await getPort({ port: options.port })
  const publicUrl = `http://localhost:${port}`
  const provider = options.login ? await startIdentityProvider(publicUrl, dataDir) : null
  if (provider !== null) {
    cleanUp.push(provider.close)
    say(
      `Identity provider on ${provider.issuer}, with one account: ${ACCOUNT.login}, password "${ACCOUNT.password}"`,
    )
    say(`The trust file lets the people of that provider register:\n${indent(provider.trust.trimEnd())}`)
  }
  const env = {
    ...aws,
    ...api,
    HOST: '127.0.0.1',
    PORT: String(port),
    PUBLIC_URL: publicUrl,
    STORE: `sqlite:${join(dataDir, 'demo.db')}`,
    LOG_LEVEL: 'warn',
    POOL: `free:${POOL_SIZE}`,
    ...provider?.env,
  }
  const service = run('src/start.js', [], env)
  service.stdout.pipe(process.stderr)
  const serviceEnded = once(service, 'exit').then(() => Promise.reject(new Error('the service exited')))
  serviceEnded.catch(() => undefined)
  cleanUp.push(async () => {
    if (service.exitCode === null && service.kill('SIGTERM')) await once(service, 'exit')
  })
  await Promise.race([until(`${publicUrl}/readyz`), serviceEnded])
  await Promise.race([poolIsFull(publicUrl), serviceEnded])
  say(
    `firstkey is ready on ${publicUrl} with ${POOL_SIZE} keys made beforehand, which the API accepts (POOL=free:${POOL_SIZE})`,
  )

  if (provider === null) {
    const token = await createToken(env)
    say(`Bootstrap token (firstkey tokens create --label demo --plan free --max-uses 100):\n   ${token}`)
    const steps = await runSteps({ serviceUrl: publicUrl, publicUrl, apiUrl, token })
    console.log(options.once ? '\nDone. Without --once the demo keeps serving.' : steps)
  } else await registerWithLogin(publicUrl, apiUrl)
  if (options.once) return
  console.log(
    `To look at it as the operator:\n\n  STORE=${env.STORE} npm run -s firstkey -- registrations list\n`,
  )
  console.log('Serving until Ctrl-C.')
  await serviceEnded
}

/** Makes the API in the empty account. @returns the variables of the service that the command prints */
async function setUpApi(aws: NodeJS.ProcessEnv) {
  const command = spawn(process.execPath, [join(root, 'src/cli/main.ts'), ...SETUP, '--json'], {
    // The emulator has no quotas here.
    env: { ...aws, AWS_CALLS_PER_SECOND: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [output, progress, [exitCode]] = await Promise.all([
    text(command.stdout),
    text(command.stderr),
    once(command, 'close'),
  ])
  if (exitCode !== 0) throw new Error(`firstkey setup ended with the exit code ${exitCode}: ${progress}`)
  const { changes, environment } = madeSchema.parse(JSON.parse(output))
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
  const lines = [
    ...changes.map(({ title }) => `made: ${title}`),
    'checked as firstkey doctor does',
    ...variables,
  ]
  say(`firstkey ${SETUP.join(' ')}\n${indent(lines.join('\n'))}`)
  return environment
}

/** Registers with the script that the service serves and a login, and uses the key. */
async function registerWithLogin(publicUrl: string, apiUrl: string): Promise<void> {
  say(`node register.mjs --name acme-agent --login${options.once ? ' --no-browser' : ''}`)
  console.log(
    options.once
      ? '   The demo logs in by itself, because of --once.\n'
      : `   Log in as ${ACCOUNT.login} with the password "${ACCOUNT.password}".\n`,
  )
  const output = await registerByLogin(publicUrl, dataDir, {
    isAttended: !options.once,
    signal: ended.signal,
  })
  say(`The script has a key, and no secret was handed out for it:\n${indent(output.trimEnd())}`)
  const [, apiKey = ''] = output.match(/^api_key_value=(\S+)$/m) ?? []
  await useKey(apiUrl, apiKey)
  if (options.once) {
    console.log('\nDone. To log in yourself, start the demo without --once.\n')
    return
  }
  console.log(`
Done. To do it yourself, as ${ACCOUNT.login} with the password "${ACCOUNT.password}":

  curl -fsSO ${publicUrl}/register.mjs && node register.mjs --name my-agent --login

To do it in a browser, open ${publicUrl}/ and sign in there.
`)
}

async function createToken(env: NodeJS.ProcessEnv): Promise<string> {
  const args = ['tokens', 'create', '--label', 'demo', '--plan', 'free', '--max-uses', '100', '--json']
  const command = run('src/cli/main.ts', args, env)
  const output = (await command.stdout.toArray()).join('')
  return z.object({ secret: z.string() }).parse(JSON.parse(output)).secret
}

/** Waits until every key of the pool is ready. */
async function poolIsFull(publicUrl: string): Promise<void> {
  const answer = z.object({ pool: z.object({ free: z.object({ ready: z.literal(POOL_SIZE) }) }) })
  await until(`${publicUrl}/readyz`, async (response) => answer.safeParse(await response.json()).success)
}

async function until(
  url: string,
  isSo: (response: Response) => Promise<boolean> = async ({ ok }) => ok,
): Promise<void> {
  for (let attempt = 0; attempt < 600; attempt++) {
    if (await fetch(url).then(isSo, () => false)) return
    await sleep(50)
  }
  throw new Error(`${url} is not ready after 30 s`)
}

try {
  await Promise.race([main(), once(ended.signal, 'abort')])
} catch (error) {
  console.error(`The demo failed: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
} finally {
  for (const undo of cleanUp.reverse()) await undo()
}
