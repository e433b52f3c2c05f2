import http from 'node:http'

/** For the metadata service of EC2, which the SDK asks by Node.js's global agent. */
const DIRECT = new http.Agent({ keepAlive: true, proxyEnv: {} })
/** The time limit for loading credentials, whatever source of the SDK's default chain they have (ms). */
const LOAD_MS = 10_000
/** Credentials that expire within this time are loaded again, while they are still used (ms). */
const RENEW_BEFORE_MS = 5 * 60_000

/** The errors of the SDK when a source has no credentials, or does not respond. */
const NOT_LOADED = new Set(['CredentialsProviderError', 'TokenProviderError', 'ProviderError'])
/** The errors of AWS for credentials that others may have replaced. */
const REPLACED = new Set([
  ...['ExpiredTokenException', 'ExpiredToken', 'UnrecognizedClientException', 'InvalidClientTokenId'],
  ...['RequestExpired', 'RequestTimeTooSkewed', 'RequestInTheFuture'],
])
/** The errors of AWS for a signature: by a replaced secret, or by a wrong clock, which the SDK corrects. */
const WRONG_SIGNATURE = new Set(['InvalidSignatureException', 'SignatureDoesNotMatch'])

/**
 * The reason why a call failed for its credentials: there are none (`missing`), AWS does not accept them, which may pass
 * (`rejected`), or the secret or the Region is wrong (`wrong`). `undefined`: it failed for another reason.
 */
export function credentialFault({ name, message }: Error): 'missing' | 'rejected' | 'wrong' | undefined {
  if (NOT_LOADED.has(name)) return 'missing'
  if (REPLACED.has(name)) return 'rejected'
  if (!WRONG_SIGNATURE.has(name)) return undefined
  return /expired|not yet current/i.test(message) ? 'rejected' : 'wrong'
}

/** The part of an SDK client's configuration that has its credentials. */
interface CredentialConfig<T> {
  credentials: (options?: { readonly forceRefresh?: boolean }) => Promise<T>
  readonly requestHandler: unknown
  readonly credentialDefaultProvider: (input: object) => () => Promise<T>
}

/** The part of an SDK client that {@link renewCredentials} changes. */
interface Client<T, Input extends object, Output> {
  readonly config: CredentialConfig<T>
  readonly middlewareStack: {
    add(
      middleware: (next: (args: Input) => Promise<Output>) => (args: Input) => Promise<Output>,
      options: { readonly name: string; readonly step: 'initialize'; readonly priority: 'high' },
    ): void
  }
}

/**
 * Gives a client credentials of the SDK's default chain that are loaded within a time limit: a source that stalls would
 * otherwise stall every later call, too. If AWS rejects the credentials of a call, or there are none, or AWS asks to repeat the
 * request (408), the client loads them again, once for all calls that failed, and repeats the call once.
 */
export function renewCredentials<T extends { readonly expiration?: Date }, Input extends object, Output>({
  config,
  middlewareStack,
}: Client<T, Input, Output>): void {
  // A chain of its own for each load: in the SDK's, a load that never ends would block all later ones.
  // With NODE_USE_ENV_PROXY the global agent would send what concerns this machine alone, a secret too, to the proxy.
  http.globalAgent = DIRECT
  // Calls of the chain itself (STS, SSO) use the proxies and the time limits of the client.
  const { requestHandler } = config
  const load = () =>
    config.credentialDefaultProvider({
      ...config,
      parentClientConfig: config,
      clientConfig: { requestHandler },
    })()
  let current: T | undefined
  let loading: Promise<T> | undefined

  /** Simultaneous callers share one load. One that takes too long is given up, and the next one starts anew. */
  function loadAgain(): Promise<T> {
    loading ??= within(LOAD_MS, load())
      .then((credentials) => {
        current = credentials
        return credentials
      })
      .catch((error: unknown) => {
        throw isExplained(error) ? error : notLoaded(error)
      })
      .finally(() => {
        loading = undefined
      })
    return loading
  }

  async function credentials(): Promise<T> {
    const leftMs = (current?.expiration?.getTime() ?? Number.POSITIVE_INFINITY) - Date.now()
    if (current === undefined || leftMs <= 0) return loadAgain()
    // They still work; a load that fails is repeated by the next call.
    if (leftMs < RENEW_BEFORE_MS) loadAgain().catch(() => undefined)
    return current
  }
  config.credentials = Object.assign(credentials, { memoized: true })

  async function withCredentials<R>(call: () => Promise<R>): Promise<R> {
    let used: T | undefined
    try {
      used = await credentials()
      return await call()
    } catch (error) {
      if (!(error instanceof Error)) throw error
      const isRejected = credentialFault(error) !== undefined
      if (!isRejected && metadataOf(error).httpStatusCode !== 408) throw error
      try {
        if (isRejected && current === used) await loadAgain()
        return await call()
      } catch (second) {
        throw withAttempts(second, (metadataOf(error).attempts ?? 1) - 1)
      }
    }
  }
  middlewareStack.add((next) => (args) => withCredentials(() => next({ ...args })), {
    name: 'renewCredentials',
    step: 'initialize',
    priority: 'high',
  })
}

/** Adds earlier attempts to those of an error: one that got no response may have taken effect. */
function withAttempts(error: unknown, earlier: number): unknown {
  const { attempts = 1 } = metadataOf(error)
  const $metadata = { ...metadataOf(error), attempts: attempts + earlier }
  return error instanceof Error ? Object.assign(error, { $metadata }) : error
}

/** The SDK's record of a call, in its errors. */
interface Metadata {
  readonly httpStatusCode?: number
  readonly attempts?: number
}

export function metadataOf(error: unknown): Metadata {
  return (error instanceof Error && '$metadata' in error && (error.$metadata as Metadata)) || {}
}

/** AWS says what is wrong with the credentials of this process, or that it may not take on the role. */
function isExplained(error: unknown): boolean {
  const { httpStatusCode = 0 } = metadataOf(error)
  return (
    error instanceof Error && (credentialFault(error) !== undefined || Math.floor(httpStatusCode / 100) === 4)
  )
}

function notLoaded(cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause)
  const error = new Error(`the AWS credentials cannot be loaded: ${reason}`, { cause })
  return Object.assign(error, { name: 'CredentialsProviderError' })
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no response of their source within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
