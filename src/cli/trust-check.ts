import { randomBytes, randomUUID } from 'node:crypto'
import { askIssuer } from '../auth/federation/ask-issuer.ts'
import { readKeys } from '../auth/federation/read-keys.ts'
import { type Issuer, type Rule, TrustFileError } from '../auth/federation/trust-file.ts'
import { createIdentityProviders } from '../auth/login/identity-provider.ts'
import { readTrustSettings, type TrustSettings } from '../config.ts'
import { formatDuration } from '../duration.ts'
import { ServiceError } from '../errors.ts'
import { formatRecord, formatTable } from './format.ts'
import { type OpenTrust, openTrust, trustFileOf } from './open-trust.ts'
import { note, printJson, write } from './output.ts'

interface CheckOptions {
  readonly offline?: true
  readonly json?: true
}

/** The result of asking an issuer. */
interface CheckedIssuer {
  readonly issuer: Issuer
  /** The ids of its keys; `null`: it was not asked, or they cannot be read. */
  readonly keyIds: readonly (string | null)[] | null
  /** The reasons why its callers cannot register or log in. */
  readonly faults: readonly string[]
  readonly warnings: readonly string[]
}

/**
 * Checks a trust file, and asks each issuer for its keys, and each login provider for its metadata.
 * @param file if it is not TRUST_FILE
 * @throws Error if the file has faults, or an issuer cannot be used
 */
export async function checkTrust(file: string | undefined, options: CheckOptions): Promise<void> {
  let open: OpenTrust
  try {
    open = openTrust(file)
  } catch (error) {
    if (!options.json || !(error instanceof TrustFileError)) throw error
    const path = trustFileOf(file, readTrustSettings(process.env))
    printJson({ file: path, valid: false, faults: error.faults.map((fault) => faultJson(path, fault)) })
    process.exitCode = 1
    return
  }
  const { federation, settings, path } = open
  const trust = federation.trust()
  const checked = await Promise.all(
    [...trust.issuers.values()].map((issuer) => checkIssuer(issuer, open, options)),
  )
  const faults = checked.flatMap(({ issuer, faults }) => faults.map((fault) => `${issuer.name}: ${fault}`))
  const warnings = [
    ...open.warnings,
    ...checked.flatMap(({ issuer, warnings }) => warnings.map((warning) => `${issuer.name}: ${warning}`)),
  ]
  if (options.json) {
    printJson({
      file: path,
      valid: faults.length === 0,
      audience: trust.audience,
      issuers: checked.map((one) => issuerJson(one, settings.publicUrl)),
      rules: trust.rules.map(ruleJson),
      warnings,
      faults: faults.map((message) => ({ line: null, column: null, message })),
    })
  } else {
    write(`${formatRecord([['audience', trust.audience]])}\n`)
    for (const one of checked) write(`${describeIssuer(one, settings.publicUrl)}\n`)
    write(
      formatTable(
        ['RULE', 'ISSUER', 'IDENTITY', 'PLANS', 'KEY TTL', 'MAX LIVE', 'ON REPEAT'],
        trust.rules.map(ruleRow),
      ),
    )
    for (const warning of warnings) note(`Warning: ${warning}`)
  }
  if (faults.length > 0)
    throw new Error(`an issuer cannot be used:\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
  note(`${path} is right${options.offline ? '; no issuer was asked' : ', and its issuers can be used'}.`)
}

async function checkIssuer(
  issuer: Issuer,
  { settings }: OpenTrust,
  { offline }: CheckOptions,
): Promise<CheckedIssuer> {
  if (offline) return { issuer, keyIds: null, faults: [], warnings: [] }
  const [keys, login] = await Promise.all([
    readKeys(issuer, settings.proxies).then(({ ids, fault }) => fault ?? ids, messageOf),
    checkLogin(issuer, settings),
  ])
  return {
    issuer,
    keyIds: typeof keys === 'string' ? null : keys,
    faults: [...(typeof keys === 'string' ? [keys] : []), ...login.faults],
    warnings: login.warnings,
  }
}

/** Begins a login as a browser would, up to the provider's first page. */
async function checkLogin(
  issuer: Issuer,
  { publicUrl, proxies }: TrustSettings,
): Promise<Pick<CheckedIssuer, 'faults' | 'warnings'>> {
  const { login } = issuer
  if (login === null) return { faults: [], warnings: [] }
  const callbackUrl = redirectUri(publicUrl)
  const providers = createIdentityProviders(callbackUrl, proxies)
  const progress = {
    id: randomUUID(),
    nonce: randomUUID(),
    codeVerifier: randomBytes(32).toString('base64url'),
  }
  try {
    const url = await providers.loginUrl({ ...issuer, login }, progress, { forcesLogin: false })
    const status = await askIssuer(url, { headers: { accept: 'text/html' } }, issuer.keys, proxies).then(
      (response) => response.status,
      // It redirects to its login form, or does not respond as this command can judge it.
      () => 0,
    )
    const refusal = `the provider refuses a login (status ${status}): register the client "${login.clientId}" there, with the redirect URI ${callbackUrl}`
    return { faults: [], warnings: status >= 400 ? [refusal] : [] }
  } catch (error) {
    return { faults: [`login: ${messageOf(error)}`], warnings: [] }
  }
}

/** The reason of an error, with its cause where the error itself is for callers. */
function messageOf(error: unknown): string {
  if (error instanceof ServiceError && error.cause !== undefined)
    return `${error.message} ${messageOf(error.cause)}`
  return error instanceof Error ? error.message : String(error)
}

/** @param publicUrl the base of the redirect URI that the operator registers at a login provider */
function describeIssuer({ issuer, keyIds, faults }: CheckedIssuer, publicUrl: string): string {
  const { name, kind, url, algorithms, singleUse, login } = issuer
  const ids = keyIds?.map((id) => id ?? '(without an id)') ?? []
  return formatRecord([
    ['issuer', `${name} (${kind})`],
    ['url', url],
    ['algorithms', algorithms.join(', ')],
    ['tokens', singleUse ? 'for one registration each' : 'for any number of registrations until they expire'],
    ...(keyIds === null ? [] : [['keys', ids.join(', ')] as const]),
    ...(login === null
      ? []
      : [
          ['login', `"Sign in with ${login.label}", client ${login.clientId}, whose secret is set`] as const,
          ['redirect uri', `${redirectUri(publicUrl)} (register it at the provider)`] as const,
        ]),
    ...faults.map((fault) => ['fault', fault] as const),
  ])
}

const redirectUri = (publicUrl: string) => `${publicUrl}/connect/callback`

function issuerJson({ issuer, keyIds, faults }: CheckedIssuer, publicUrl: string): object {
  const { name, kind, url, algorithms, singleUse, login } = issuer
  return {
    name,
    kind,
    issuer: url,
    algorithms,
    single_use: singleUse,
    key_ids: keyIds,
    login: login === null ? null : { client_id: login.clientId, redirect_uri: redirectUri(publicUrl) },
    faults,
  }
}

function ruleRow({ id, issuer, identity, grant }: Rule): string[] {
  return [
    id,
    issuer,
    identity.join(','),
    grant.plans.join(',') || '(default)',
    formatDuration(grant.keyTtlMs),
    grant.maxLive === null ? 'unlimited' : String(grant.maxLive),
    grant.onRepeat,
  ]
}

function ruleJson({ id, issuer, identity, grant }: Rule): object {
  return {
    id,
    issuer,
    identity,
    plans: grant.plans,
    key_ttl_seconds: grant.keyTtlMs / 1_000,
    max_live: grant.maxLive,
    on_repeat: grant.onRepeat,
  }
}

/** The parts of a fault, which reads `path:line:column: message`. */
function faultJson(path: string, fault: string): object {
  const [, line, column, message] = fault.slice(path.length).match(/^:(\d+):(\d+): (.*)$/s) ?? []
  return { line: Number(line), column: Number(column), message }
}
