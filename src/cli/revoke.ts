import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import type { Deps } from '../deps.ts'
import { revoke } from '../registration/revoke.ts'
import type { Actor } from '../store/audit.ts'
import type { RegistrationWithKey } from '../store/operators.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { loadRegistration } from './load-registration.ts'
import { withDeps } from './with-deps.ts'
import { withStore } from './with-store.ts'

/** The registrations to revoke: by id, or all of a token, of a plan, or of a token on a plan. */
interface Selection {
  readonly ids?: readonly string[]
  readonly token?: string
  readonly plan?: string
}

const PAGE = 500

/** Adds `firstkey registrations revoke`. */
export function addRevokeCommand(registrations: Command): void {
  registrations
    .command('revoke')
    .description('revoke registrations and delete their keys permanently; dry run unless --yes')
    .argument('[ids...]', 'registration ids (reg_…), or ids or names of their keys')
    .option('--token <id>', 'all registrations created with this token')
    .option('--plan <name>', 'all registrations on this plan')
    .option('--yes', 'revoke them instead of listing them')
    .action(async (ids: string[], { yes, token, plan }: Selection & { yes?: true }) => {
      const selection = {
        ...(ids.length > 0 ? { ids } : {}),
        ...(token ? { token } : {}),
        ...(plan ? { plan } : {}),
      }
      if (Object.keys(selection).length === 0) throw new Error('specify registration ids, --token or --plan')
      if ('ids' in selection && (token ?? plan) !== undefined)
        throw new Error('specify either registration ids, or --token and --plan, but not both')
      if (yes) await withDeps((deps, actor) => revokeKeys(deps, actor, selection))
      else await withStore((store) => preview(store, selection))
    })
}

/**
 * Revokes the selected registrations one after the other, with progress on stderr. If it is stopped or API Gateway fails,
 * a running server deletes the remaining keys; running the same command again does so too.
 * @throws Error if a key is not deleted yet
 */
export async function revokeKeys(deps: Deps, actor: Actor, selection: Selection): Promise<void> {
  let [done, failed] = [0, 0]
  const seen = new Set<string>()
  // On a store whose lists lag, registrations created a moment ago appear only in a later round.
  for (let round = 0; ; round++) {
    if (round > 0) await sleep(deps.store.listingLagMs)
    const selected = (await select(deps.store, selection)).filter(
      ({ registration }) => !seen.has(registration.id),
    )
    // All are recorded as revoked before the first deletion: if this command is stopped, a server deletes the keys.
    for (const { registration } of selected) {
      seen.add(registration.id)
      await deps.store.revokeRegistration(registration.id, actor, deps.clock())
    }
    done += selected.length
    failed += await deleteAll(deps, actor, selected)
    if (deps.store.listingLagMs === 0 || (round > 0 && selected.length === 0)) break
  }
  process.stderr.write(
    done === 0 ? 'No registration matches; no key was deleted.\n' : `${done - failed} of ${done} revoked.\n`,
  )
  if (failed > 0)
    throw new Error('some keys are not deleted yet; a running server retries, or run this command again')
}

async function deleteAll(
  deps: Deps,
  actor: Actor,
  selected: readonly RegistrationWithKey[],
): Promise<number> {
  let failed = 0
  for (const [i, { registration, current }] of selected.entries()) {
    const progress = `${i + 1}/${selected.length}  ${line(registration, current)}`
    try {
      await revoke(deps, registration.id, actor)
      process.stderr.write(`${progress}  revoked\n`)
    } catch {
      failed += 1 // The reason is in the log, on stderr.
      process.stderr.write(`${progress}  key not deleted yet\n`)
    }
  }
  return failed
}

async function preview(store: Store, selection: Selection): Promise<void> {
  const selected = await select(store, selection)
  for (const { registration, current } of selected) process.stdout.write(`${line(registration, current)}\n`)
  const { length } = selected
  const [registrations, them] = length === 1 ? ['registration', 'it'] : ['registrations', 'them']
  process.stderr.write(
    length === 0
      ? 'No registration matches; nothing was changed.\n'
      : `${length} ${registrations} would be revoked. Nothing was changed. To revoke ${them}, add --yes.\n`,
  )
}

function line(registration: Registration, current: Registration): string {
  return `${registration.id}  ${current.apiKeyId ?? '-'}  ${current.plan}  ${registration.name}`
}

async function select(
  store: Store,
  { ids, token: tokenId, plan }: Selection,
): Promise<RegistrationWithKey[]> {
  const selected: RegistrationWithKey[] = []
  if (ids !== undefined) {
    const found = new Map<string, RegistrationWithKey>()
    for (const id of ids) {
      const one = await selectOne(store, id)
      found.set(one.registration.id, one)
    }
    return [...found.values()]
  }
  for (;;) {
    const after = selected.at(-1)?.registration
    const page = await store.listWithKeys({ tokenId, plan, withKey: true, after, limit: PAGE }, systemClock())
    selected.push(...page)
    if (page.length < PAGE) return selected
  }
}

async function selectOne(store: Store, id: string): Promise<RegistrationWithKey> {
  const registration = await loadRegistration(store, id)
  if (registration.status === 'failed') throw new Error(`${id} failed: it has no key`)
  const { currentId } = registration
  const current = currentId === null ? registration : await store.getRegistration(currentId)
  return { registration, current: current ?? registration }
}
