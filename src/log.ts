import { createRequire } from 'node:module'
import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino'

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** The part of a logger that the service uses; pino's loggers and Fastify's request loggers provide it. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/**
 * Matches a JWT within a text (the source of a regular expression), also one that is cut off: base64url of `{"…`, or of `{`
 * and white space, and what follows. The time to search is linear.
 */
export const JWT_IN_TEXT = String.raw`e(?:yJ|yA[gi]|wogI|woJI|w0KI)[\w.-]{20,}`

/**
 * Matches what looks like a secret: firstkey tokens; JWTs; API key values, which are 40 letters and digits (a hash, such as a git
 * commit's, has no letters of both cases, and a random value that has none is one of a billion); bearer credentials.
 */
const SECRETS = new RegExp(
  String.raw`fk[bm]_[0-9A-Za-z]+|${JWT_IN_TEXT}|\b(?=[0-9A-Z]*[a-z])(?=[0-9a-z]*[A-Z])[0-9A-Za-z]{40}\b|[Bb]earer +[^\s"\\]+`,
  'g',
)

/** Replaces everything in `text` that looks like a secret. */
export function redact(text: string): string {
  return text.replace(SECRETS, '[redacted]')
}

/** Returns `true` if a text contains what looks like a secret. A short word after "bearer" does not. */
export function containsSecret(text: string): boolean {
  return (text.match(SECRETS) ?? []).some((found) => !/^bearer +\S{1,15}$/i.test(found))
}

/**
 * Creates a logger that writes JSON lines to stdout, or readable lines if stdout is a terminal. Headers and bodies are
 * never logged; in addition, every line passes through {@link redact}.
 */
export function createLogger(level: LogLevel, destination?: DestinationStream): Logger {
  const options: LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: (error: unknown) => describeError(error) },
    // Redacting the whole line covers every field and costs half as much as looking up fields by name.
    hooks: { streamWrite: redact },
  }
  if (destination !== undefined) return pino(options, destination)
  if (!process.stdout.isTTY) return pino(options)
  // Loaded only if it is needed: a container has no terminal and saves the cost.
  const pretty = createRequire(import.meta.url)('pino-pretty')
  return pino(options, pretty({ sync: true, ignore: 'pid,hostname', translateTime: "UTC:HH:MM:ss.l'Z'" }))
}

interface DescribedError {
  readonly type: string
  readonly message: string
  readonly code?: string
  readonly aws?: { status?: unknown; request_id?: unknown; attempts?: unknown }
  readonly stack?: string
  readonly cause?: DescribedError
}

/**
 * Returns the fields of an error that help to diagnose it, and none that may contain a request: errors of the AWS SDK
 * hold whole requests.
 */
function describeError(error: unknown, depth = 0): DescribedError {
  if (!(error instanceof Error)) return { type: typeof error, message: String(error) }
  const metadata = '$metadata' in error && typeof error.$metadata === 'object' ? error.$metadata : null
  return {
    type: error.name,
    message: error.message,
    ...('code' in error && typeof error.code === 'string' ? { code: error.code } : {}),
    ...(metadata === null
      ? {}
      : {
          aws: {
            ...('httpStatusCode' in metadata ? { status: metadata.httpStatusCode } : {}),
            ...('requestId' in metadata ? { request_id: metadata.requestId } : {}),
            ...('attempts' in metadata ? { attempts: metadata.attempts } : {}),
          },
        }),
    ...(error.stack === undefined ? {} : { stack: error.stack }),
    ...(error.cause === undefined || depth > 3 ? {} : { cause: describeError(error.cause, depth + 1) }),
  }
}
