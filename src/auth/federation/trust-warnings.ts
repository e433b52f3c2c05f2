import { statSync } from 'node:fs'
import type { Trust } from './trust-file.ts'

/** The facts by which a trust file is judged. */
export interface TrustSurroundings {
  readonly path: string
  readonly publicUrl: string
  /** Otherwise `publicUrl` is a default that only this machine can reach. */
  readonly isPublicUrlSet: boolean
}

const WRITABLE_BY_OTHERS = 0o002

/** Lists what is likely to be a mistake in a valid trust file. */
export function trustWarnings(trust: Trust, surroundings: TrustSurroundings): string[] {
  const { path, publicUrl, isPublicUrlSet } = surroundings
  const named = new Set(trust.rules.map(({ issuer }) => issuer))
  const unnamed = [...trust.issuers.keys()].filter((name) => !named.has(name))
  const mode = statSync(path, { throwIfNoEntry: false })?.mode ?? 0
  return [
    ...(trust.audience === publicUrl && !isPublicUrlSet
      ? [
          `PUBLIC_URL is not set, so identity tokens must have the audience ${publicUrl}: set PUBLIC_URL, or audience in the trust file`,
        ]
      : []),
    ...((mode & WRITABLE_BY_OTHERS) === 0
      ? []
      : [
          'every user of this machine can write the trust file, and so let in anybody: take that permission away (chmod o-w)',
        ]),
    ...unnamed.map((name) => `no rule is for the issuer ${name}, so all its callers are refused`),
  ]
}
