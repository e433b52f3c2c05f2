import type { FastifyInstance, FastifyRequest } from 'fastify'
import { validatorCompiler } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { ServiceError } from '../errors.ts'

const JSON_TYPE = 'application/json'

/**
 * Reads the bodies of all routes. An empty body is absent, whatever its type or encoding. Any other must be JSON that is not
 * compressed. A DELETE may have content of any kind, which is ignored: it has no meaning (RFC 9110, section 9.3.5).
 * The errors are ServiceError `unsupported_media_type` and `invalid_request`, and those of Fastify.
 */
export function readBodies(app: FastifyInstance): void {
  app.addHttpMethod('DELETE', { hasBody: false, overrideExisting: true })
  app.removeAllContentTypeParsers()
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('*', { parseAs: 'string' }, (request, body, done) => {
    if (body === '' || request.is404) return done(null, undefined)
    if (isCompressed(request.headers['content-encoding']))
      return done(new ServiceError('unsupported_media_type', 'The body must not be compressed.'))
    if (request.mediaType !== JSON_TYPE)
      return done(new ServiceError('unsupported_media_type', `The body must be ${JSON_TYPE}.`))
    return parse(request, body.toString(), (error, value) => {
      // The validator of a route cannot tell this null from an absent body.
      if (value === null) done(noObject())
      else done(error, value)
    })
  })
  // Fastify rejects a malformed type before it reads the body, which may be empty.
  app.addHook('onRequest', async (request) => {
    if (!request.mediaType) delete request.headers['content-type']
  })
}

/**
 * Returns the body of a request that was rejected, also if that was before its body was read: it waits for the body for as
 * long as the server lets requests take.
 * @returns `undefined` for a body that is not JSON, too large or broken
 */
export async function peekBody({
  body,
  raw,
  mediaType,
  headers,
  routeOptions,
}: FastifyRequest): Promise<unknown> {
  const limit = routeOptions.bodyLimit
  if (body !== undefined) return body
  if (mediaType !== JSON_TYPE || raw.readableDidRead || Number(headers['content-length'] ?? 0) > limit)
    return undefined
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of raw.iterator({ destroyOnReturn: false })) {
      size += chunk.length
      if (size > limit) return undefined
      chunks.push(chunk)
    }
    return JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    return undefined
  }
}

/** Reports whether a `Content-Encoding`, a list whose items are case-insensitive (RFC 9110, section 8.4), has a coding. */
export function isCompressed(codings = ''): boolean {
  return codings.split(',').some((coding) => !['', 'identity'].includes(coding.trim().toLowerCase()))
}

function noObject(): ServiceError {
  const message = 'a JSON object is required'
  return new ServiceError('invalid_request', `body: ${message}.`, { errors: [{ path: '', message }] })
}

type CompileValidator = typeof validatorCompiler

/**
 * Compiles the validator of a part of the requests to a route. In a body, a member that may be absent may also be `null`, which
 * means the same.
 */
export const compileValidator: CompileValidator = (route) => {
  const validate = validatorCompiler(route)
  if (route.httpPart !== 'body') return validate
  const optional = optionalMembers(route.schema)
  // Fastify passes null for an absent body.
  return (data) => validate(data === null ? undefined : withoutNulls(data, optional))
}

function optionalMembers(schema: z.core.$ZodType): string[] {
  const object = schema instanceof z.ZodPrefault ? schema.unwrap() : schema
  if (!(object instanceof z.ZodObject)) return []
  return Object.keys(object.shape).filter((name) => object.shape[name].safeParse(undefined).success)
}

function withoutNulls(data: unknown, optional: readonly string[]): unknown {
  if (typeof data !== 'object' || Array.isArray(data) || data === null) return data
  return Object.fromEntries(
    Object.entries(data).filter(([name, value]) => value !== null || !optional.includes(name)),
  )
}
