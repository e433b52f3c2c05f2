import type { FastifyInstance } from 'fastify'
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
    if (body === '') return done(null, undefined)
    if ((request.headers['content-encoding'] ?? 'identity') !== 'identity')
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
