import { ServiceError } from '../errors.ts'
import { inspectSecret, type SecretPrefix } from './secret.ts'

/** @throws ServiceError `invalid_token` if `secret` cannot be a token of this kind; a typing error is told as one */
export function requireTokenFormat(prefix: SecretPrefix, secret: string, kind: string): void {
  const form = inspectSecret(prefix, secret)
  if (form === 'mistyped') {
    throw new ServiceError('invalid_token', 'The token has a typing error: its checksum does not match.')
  }
  if (form === 'malformed') {
    throw new ServiceError('invalid_token', `A ${kind} is "${prefix}" and 38 letters and digits.`)
  }
}
