import { ServiceError } from '../errors.ts'
import { inspectSecret, type SecretPrefix } from './secret.ts'

/**
 * Checks that `secret` has the format of a token.
 * @param kind the name of that kind of token, for the detail of the error
 * @throws ServiceError `invalid_token` if it does not; the detail distinguishes a typing error from another format
 */
export function requireTokenFormat(prefix: SecretPrefix, secret: string, kind: string): void {
  const format = inspectSecret(prefix, secret)
  if (format === 'mistyped') {
    throw new ServiceError('invalid_token', 'The token has a typing error: its checksum does not match.')
  }
  if (format === 'malformed') {
    throw new ServiceError('invalid_token', `A ${kind} consists of "${prefix}" and 38 letters and digits.`)
  }
}
