import { readTrust, TrustFileError } from '../auth/federation/trust-file.ts'
import { ConfigError, readTrustSettings } from '../config.ts'
import type { Federation } from '../store/records.ts'

type HasRule = (federation: Pick<Federation, 'issuer' | 'rule'>) => boolean | null

/** Read once: a command is short. */
let known: HasRule | undefined

/**
 * Reports whether TRUST_FILE has the rule by which an identity registered; `null`: that is not known here, because it is not set,
 * or the file has faults.
 */
export const hasRule: HasRule = (federation) => {
  known ??= readRules()
  return known(federation)
}

function readRules(): HasRule {
  try {
    const settings = readTrustSettings(process.env)
    const { trustFile: path } = settings
    if (path === null) return () => null
    const { issuers, rules } = readTrust({ ...settings, path })
    return ({ issuer, rule }) =>
      rules.some(({ id, issuer: name }) => id === rule && issuers.get(name)?.url === issuer)
  } catch (error) {
    if (error instanceof TrustFileError || error instanceof ConfigError) return () => null
    throw error
  }
}
