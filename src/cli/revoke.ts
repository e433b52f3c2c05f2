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

/** Which registrations: those named, or all of a token or of a plan. */
interface Selection {
  readonly ids?: readonly string[]
  readonly token?: string
  readonly plan?: string
}

const PAGE = 500

/** `firstkey registrations revoke`. */
export function addRevokeCommand(registrations: Command): void {
  registrations
    .command('revoke')
    .description('take keys back, for good; a dry run unless --yes')
    .argument('[ids...]', 'reg_…')
    .option('--token <id>', 'all that were made with this token')
    .option('--plan <name>', 'all that are on this plan')
    .option('--yes', 'do it')
    .action(async (ids: string[], { yes, token, plan }: Selection & { yes?: true }) => {
      const selection = {
        ...(ids.length > 0 ? { ids } : {}),
        ...(token ? { token } : {}),
        ...(plan ? { plan } : {}),
      }
      if (Object.keys(selection).length === 0) throw new Error('name registrations, --token or --plan')
      if ('ids' in selection && (token ?? plan) !== undefined)
        throw new Error('name registrations, or --token and --plan, but not both')
      if (yes) await withDeps((deps, actor) => revokeKeys(deps, actor, selection))
      else await withStore((store) => preview(store, selection))
    })
}

/**
 * Revokes one after the other, with progress on stderr. What this leaves unfinished, because it was stopped or API Gateway
 * fails, a running server finishes, or the same command again.
 */
export async function revokeKeys(deps: Deps, actor: Actor, selection: Selection): Promise<void> {
  let [done, failed] = [0, 0]
  const seen = new Set<string>()
  // Where lists lag, what was made a moment ago shows up a little later.
  for (let round = 0; ; round++) {
    if (round > 0) await sleep(deps.store.listingLagMs)
    const selected = (await select(deps.store, selection)).filter(
      ({ registration }) => !seen.has(registration.id),
    )
    // The intent first, all of it: whatever stops this command, these keys go.
    for (const { registration } of selected) {
      seen.add(registration.id)
      await deps.store.revokeRegistration(registration.id, actor, deps.clock())
    }
    done += selected.length
    failed += await deleteAll(deps, actor, selected)
    if (deps.store.listingLagMs === 0 || (round > 0 && selected.length === 0)) break
  }
  process.stderr.write(`${done - failed} of ${done} revoked.\n`)
  if (failed > 0)
    throw new Error('not everything could be done now; a running server goes on, or run it again')
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
      process.stderr.write(`${progress}  not deleted yet\n`)
    }
  }
  return failed
}

async function preview(store: Store, selection: Selection): Promise<void> {
  const selected = await select(store, selection)
  for (const { registration, current } of selected) process.stdout.write(`${line(registration, current)}\n`)
  process.stderr.write(`${selected.length} would be revoked. Nothing was changed. To do it, add --yes.\n`)
}

function line(registration: Registration, current: Registration): string {
  return `${registration.id}  ${current.apiKeyId ?? '-'}  ${registration.plan}  ${registration.name}`
}

async function select(
  store: Store,
  { ids, token: tokenId, plan }: Selection,
): Promise<RegistrationWithKey[]> {
  const selected: RegistrationWithKey[] = []
  if (ids !== undefined) {
    for (const id of new Set(ids)) selected.push(await selectOne(store, id))
    return selected
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
