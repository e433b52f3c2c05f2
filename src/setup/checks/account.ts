import type { AccountFacts } from '../facts.ts'
import { type Finding, notChecked, ok } from '../finding.ts'
import { awsCommand, mend, patchWords } from './mends.ts'

/** Accounts that used API keys before 2016 have no usage plans until they are switched on. */
export function checkAccount({ account, environment }: AccountFacts): Finding {
  const check = 'account'
  if (!account.known) return notChecked(check, {}, "the account's settings", account)
  if (account.value.features.includes('UsagePlans'))
    return ok(check, {}, `the account has usage plans in ${environment.region}`)
  return {
    check,
    status: 'fault',
    where: {},
    message: `the account has no usage plans in ${environment.region}: its feature UsagePlans is off`,
    why: 'a key is on no plan there, and its limits do not hold',
    mend: mend(environment, {
      tags: {},
      commands: [
        awsCommand('update-account', ...patchWords({ op: 'add', path: '/features', value: 'UsagePlans' })),
      ],
      inTemplate: '',
      note: 'it cannot be switched off again',
    }),
  }
}
