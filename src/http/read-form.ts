import type { FastifyInstance } from 'fastify'
import { ServiceError } from '../errors.ts'
import { isCompressed } from './read-body.ts'

export const FORM_TYPE = 'application/x-www-form-urlencoded'
const NEXT_STEP = `Send the parameters uncompressed, with "Content-Type: ${FORM_TYPE}", in UTF-8.`

/**
 * Reads the bodies of a plugin's routes as forms (RFC 6749, appendix B): an object with a string for each parameter. One
 * without a value counts as absent (section 3.2).
 * The errors are ServiceError `unsupported_media_type` and `invalid_request`, also for a parameter that is there twice.
 */
export function readForms(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body, done) => {
    if (isCompressed(request.headers['content-encoding']))
      return done(unsupported('The body must not be compressed.'))
    const [, charset = 'utf-8'] = request.headers['content-type']?.match(/;\s*charset="?([^\s";]*)/i) ?? []
    if (request.mediaType !== FORM_TYPE || !/^(utf-?8|us-ascii)$/i.test(charset))
      return done(unsupported(`The body must be ${FORM_TYPE}, in UTF-8.`))
    try {
      done(null, parseForm(body.toString('latin1')))
    } catch (error) {
      done(error instanceof ServiceError ? error : notEncoded())
    }
  })
}

/** @param text the bytes of the form, each as one character */
function parseForm(text: string): Record<string, string> {
  const form = new Map<string, string>()
  const names = new Set<string>()
  for (const part of text.split('&').filter((part) => part !== '')) {
    const [name, value] = splitOnce(part).map(decode)
    if (name === undefined || value === undefined) throw notEncoded()
    if (names.has(name))
      throw new ServiceError(
        'invalid_request',
        `${JSON.stringify(name.slice(0, 40))} is there more than once.`,
      )
    names.add(name)
    if (value !== '') form.set(name, value)
  }
  return Object.fromEntries(form)
}

function splitOnce(part: string): [name: string, value: string] {
  const at = part.indexOf('=')
  return at === -1 ? [part, ''] : [part.slice(0, at), part.slice(at + 1)]
}

/** @throws URIError for what is not UTF-8 or not percent-encoded */
function decode(text: string): string {
  const bytes = text
    .replaceAll('+', ' ')
    .replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16)}`)
  return decodeURIComponent(bytes)
}

function notEncoded(): ServiceError {
  return new ServiceError('invalid_request', 'The body is not a form in UTF-8 with valid percent-encoding.')
}

function unsupported(detail: string): ServiceError {
  return new ServiceError('unsupported_media_type', detail, { nextStep: NEXT_STEP })
}
