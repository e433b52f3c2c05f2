import { text as readText } from 'node:stream/consumers'
import type { Command } from 'commander'
import { CannotLookError, createRestApiReads } from '../aws/rest-apis.ts'
import { readGatewayConfig } from '../config.ts'
import { type Diagnosis, diagnose } from '../setup/diagnose.ts'
import type { Finding } from '../setup/finding.ts'
import { note, print, printJson } from './output.ts'

/** The time limits of one call and of all reads (ms). */
const CALL_MS = 10_000
const ALL_MS = 120_000
/** The longest text on stdin that could be a key: API Gateway's have 20 to 128 characters. */
const LONGEST_KEY = 1_024

interface DoctorOptions {
  readonly api?: string
  readonly stage?: string
  readonly keyStdin?: true
  readonly json?: true
}

/** Adds `firstkey doctor`. */
export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .summary('check that a key opens the API: plans, stage, methods, deployment')
    .description(
      'Reads the API, its deployed stage and its usage plans, and checks all that must be so for a key to open it. It changes ' +
        'nothing. Each line is a check: ok, warning, fault or not checked, with its place, what callers see of it, and the ' +
        'command that mends it. docs/setup.md describes every check.',
    )
    .option('--api <id>', 'the API; without it that of API_BASE_URL, or those of the plans')
    .option('--stage <name>', 'its stage')
    .option('--key-stdin', 'also say why a key is refused: reads the key from stdin, and never prints it')
    .option('--json', 'print the findings as JSON')
    .addHelpText(
      'after',
      `
It needs AWS_REGION and AWS credentials that may read; what they may not read is "not checked", with the missing
permission. If they are set, it also goes by USAGE_PLANS (or USAGE_PLAN_ID), API_BASE_URL and API_PROBE_PATH.
It needs no store.

Exit codes: 0 healthy, also with warnings; 1 there are faults; 2 it could not look.

Examples:
  firstkey doctor
  firstkey doctor --api a1b2c3d4e5 --stage prod
  firstkey doctor --key-stdin < key.txt`,
    )
    // Its code 1 says that the API has faults.
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
    .action(async (options: DoctorOptions) => {
      process.exitCode = await runDoctor(options)
    })
}

/** Prints what is wrong with an API. @returns the exit code */
async function runDoctor(options: DoctorOptions): Promise<number> {
  try {
    requireIds(options)
    const environment = readGatewayConfig(process.env)
    const key = options.keyStdin ? await readKey() : null
    const reads = createRestApiReads({
      ...{ region: environment.region, endpoint: environment.apiGatewayEndpoint },
      ...{ proxies: environment.proxies, callsPerSecond: environment.callsPerSecond },
      ...{ callTimeoutMs: CALL_MS, observeDate: () => undefined, signal: AbortSignal.timeout(ALL_MS) },
    })
    try {
      const { api = null, stage = null } = options
      const diagnosis = await diagnose(reads, environment, { api, stage, key })
      printDiagnosis(diagnosis, options.json === true)
      return { healthy: 0, faulty: 1, unknown: 2 }[diagnosis.result]
    } finally {
      reads.close()
    }
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const isExpected = error instanceof CannotLookError || error.name === 'ConfigError'
    for (const line of `firstkey: ${isExpected ? '' : `${error.name}: `}${error.message}`.split('\n'))
      note(line)
    return 2
  }
}

/** Refuses what cannot be an id or a name without quoting it: it may be a key. @throws CannotLookError */
function requireIds({ api, stage }: DoctorOptions): void {
  if (api !== undefined && !/^[\w-]{1,19}$/.test(api))
    throw new CannotLookError('--api must be the id of a REST API, for example a1b2c3d4e5')
  if (stage !== undefined && !/^[\w-]{1,128}$/.test(stage))
    throw new CannotLookError('--stage must be the name of a stage, for example prod')
}

/** Reads the key from stdin. @throws CannotLookError if there is none, or more than one line */
async function readKey(): Promise<string> {
  if (process.stdin.isTTY)
    note('Paste the key, then press Enter and Ctrl-D. The terminal shows it; --key-stdin < FILE does not.')
  let size = 0
  const bounded = process.stdin.map((chunk: Buffer) => {
    size += chunk.length
    if (size > LONGEST_KEY) throw new CannotLookError('what is on stdin is too long for a key')
    return chunk
  })
  const key = (await readText(bounded)).trim()
  if (key === '') throw new CannotLookError('there is no key on stdin')
  if (/\s/.test(key)) throw new CannotLookError('what is on stdin is no key: it has white space in it')
  if (/^fk[bm]_/.test(key))
    throw new CannotLookError(
      `what is on stdin is a ${key.startsWith('fkb_') ? 'bootstrap' : 'management'} token of firstkey, not an API key`,
    )
  return key
}

const LABELS = { ok: 'ok', warning: 'warning', fault: 'fault', not_checked: 'not checked' }

/** Prints what was found. */
function printDiagnosis(diagnosis: Diagnosis, asJson: boolean): void {
  if (asJson) printJson(diagnosisJson(diagnosis))
  else for (const finding of diagnosis.findings) for (const line of linesOf(finding)) print(line)
  noteVerdict(diagnosis)
}

/** Prints on stderr what is not well, and the verdict. */
export function noteDiagnosis(diagnosis: Diagnosis): void {
  for (const finding of diagnosis.findings)
    if (finding.status !== 'ok') for (const line of linesOf(finding)) note(line)
  noteVerdict(diagnosis)
}

function noteVerdict({ findings, targets, others, result }: Diagnosis): void {
  if (others.length > 0)
    note(
      `The plans also cover ${others.map(show).join(', ')}, not checked here: --api and --stage choose another one.`,
    )
  const count = (status: Finding['status']) => findings.filter((one) => one.status === status).length
  const counts = [
    `${count('fault')} faults`.replace(/^1 faults/, '1 fault'),
    `${count('warning')} warnings`.replace(/^1 warnings/, '1 warning'),
    ...(count('not_checked') === 0 ? [] : [`${count('not_checked')} not checked`]),
  ].join(', ')
  const subject = targets.length === 0 ? 'The plans' : targets.map(show).join(', ')
  const isWhole = count('not_checked') === 0
  const healthy = isWhole ? 'healthy' : 'healthy as far as it could be checked'
  const verdict = { healthy, faulty: 'not healthy', unknown: 'could not be looked at' }[result]
  note(`${subject}: ${verdict} (${counts})`)
}

const show = ({ api, stage }: { api: string; stage: string }) => (stage === '' ? api : `${api}:${stage}`)

const INDENT = ' '.repeat(13)

function linesOf({ check, status, where, message, why, mend, action }: Finding): string[] {
  const lines = [`${LABELS[status].padEnd(11)}  ${check.padEnd(17)}  ${placeText(where)}${message}`]
  if (why !== undefined) lines.push(`${INDENT}why: ${why}`)
  if (mend !== undefined && mend.command !== null) {
    lines.push(`${INDENT}mend${mend.note === undefined ? '' : ` (${mend.note})`}:`)
    lines.push(...mend.command.split('\n').map((line) => `${INDENT}  ${line}`))
  } else if (mend?.note !== undefined) lines.push(`${INDENT}mend: ${mend.note}`)
  if (action !== undefined) lines.push(`${INDENT}permission: ${action}`)
  return lines
}

/** The place of a finding before its message, as in `plan gold (abc123), API a1b2c3d4e5, stage prod: `. */
function placeText({ plan, usagePlanId, api, stage, path, method, keyId }: Finding['where']): string {
  const parts = [
    ...(plan === undefined ? [] : [`plan ${plan}${usagePlanId === undefined ? '' : ` (${usagePlanId})`}`]),
    ...(keyId === undefined ? [] : [`key ${keyId}`]),
    ...(api === undefined ? [] : [`API ${api}`]),
    ...(stage === undefined || stage === '' ? [] : [`stage ${stage}`]),
    ...(path === undefined ? [] : [method === undefined ? path : `${method} ${path}`]),
  ]
  return parts.length === 0 ? '' : `${parts.join(', ')}: `
}

/** The JSON of a diagnosis. */
export function diagnosisJson({ targets, others, findings, result }: Diagnosis): object {
  const [only] = targets.length === 1 ? targets : []
  return {
    api: only?.api ?? null,
    stage: only?.stage || null,
    healthy: result === 'healthy',
    complete: !findings.some(({ status }) => status === 'not_checked'),
    targets: targets.map(targetJson),
    others: others.map(targetJson),
    findings: findings.map(findingJson),
  }
}

const targetJson = ({ api, stage }: Diagnosis['targets'][number]) => ({ api, stage: stage || null })

function findingJson({ check, status, where, message, why, mend, action }: Finding): object {
  const { usagePlanId, keyId, ...place } = where
  return {
    check,
    status,
    where: {
      ...place,
      ...(usagePlanId === undefined ? {} : { usage_plan_id: usagePlanId }),
      ...(keyId === undefined ? {} : { key_id: keyId }),
    },
    message,
    ...(why === undefined ? {} : { why }),
    ...(mend === undefined ? {} : { mend }),
    ...(action === undefined ? {} : { action }),
  }
}
