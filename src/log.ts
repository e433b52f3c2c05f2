import { createRequire } from 'node:module'
import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino'
import type { LogLevel } from './config.ts'

/** What the service needs of a logger; pino and Fastify's request loggers have it. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** What looks like a secret: the service's tokens, any key value of 40 letters and digits, what a bearer header carries. */
const SECRETS = /fk[bm]_[0-9A-Za-z]+|\b[0-9A-Za-z]{40}\b|[Bb]earer +[^\s"\\]+/g

/** `text` without anything that looks like a secret. */
export function redact(text: string): string {
  return text.replace(SECRETS, '[redacted]')
}

/**
 * JSON lines on stdout, or readable ones where stdout is a terminal. Headers and bodies are never logged;
 * every message and every error text passes {@link redact} all the same.
 */
export function createLogger(level: LogLevel, destination?: DestinationStream): Logger {
  const options: LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: (error: unknown) => describeError(error) },
    // On the whole line, wherever in it a secret may be: half the cost of looking into each field by its name.
    hooks: { streamWrite: redact },
  }
  if (destination !== undefined) return pino(options, destination)
  if (!process.stdout.isTTY) return pino(options)
  // Loaded only here: a container has no terminal and pays nothing for it.
  const pretty = createRequire(import.meta.url)('pino-pretty')
  return pino(options, pretty({ sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss.l' }))
}

interface DescribedError {
  readonly type: string
  readonly message: string
  readonly code?: string
  readonly aws?: { status?: unknown; request_id?: unknown; attempts?: unknown }
  readonly stack?: string
  readonly cause?: DescribedError
}

/** The parts of an error that help, and none that may carry a request: the SDK's errors hold whole ones. */
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
