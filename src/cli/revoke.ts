import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import type { Deps } from '../deps.ts'
import { publicStatusOf } from '../registration/lifecycle.ts'
import type { Actor } from '../store/audit.ts'
import type { RegistrationWithKey } from '../store/operators.ts'
import type { Store } from '../store/store.ts'
import { areEnded, deleteKeysOf } from './delete-keys.ts'
import { endDryRun } from './dry-run.ts'
import { finishWork } from './finish-work.ts'
import { showTime } from './format.ts'
import { requireKnown } from './known-names.ts'
import { loadRegistration } from './load-registration.ts'
import { note, print } from './output.ts'
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

/** A selected registration, and the ids of its records whose keys are to be deleted. */
interface Revocation extends RegistrationWithKey {
  readonly ending: readonly string[]
}

/**
 * Revokes the selected registrations, with progress on stderr. All are recorded as revoked before the first deletion. Their
 * keys are deleted by a running server, otherwise by this command.
 * @throws Error if a key is not deleted yet
 */
export async function revokeKeys(deps: Deps, actor: Actor, selection: Selection): Promise<void> {
  const { clock, store } = deps
  const revocations: Revocation[] = []
  const seen = new Set<string>()
  // On a store whose lists lag, registrations created a moment ago appear only in a later round.
  for (let round = 0; ; round++) {
    if (round > 0) await sleep(store.listingLagMs)
    const selected = (await select(store, selection)).filter(({ registration }) => !seen.has(registration.id))
    for (const one of selected) {
      const { id } = one.registration
      seen.add(id)
      const ending = await store.revokeRegistration(id, actor, clock())
      if (ending.length === 0 && one.current.status === 'ended') note(endedLine(one, clock()))
      else revocations.push({ ...one, ending: ending.map((record) => record.id) })
    }
    if (store.listingLagMs === 0 || (round > 0 && selected.length === 0)) break
  }
  const { length } = revocations
  const { unfinished, interrupted } = await finishWork(deps, {
    items: revocations,
    name: 'keys',
    isDone: ({ ending }) => areEnded(store, ending),
    onDone: (one, count) => note(`${count}/${length}  ${line(one)}  revoked`),
    round: (unfinished, leaderLease, stop) =>
      deleteKeysOf(
        deps,
        unfinished.flatMap(({ ending }) => ending),
        leaderLease,
        stop,
      ),
  })
  for (const one of unfinished) note(`${line(one)}  key not deleted yet`)
  note(
    seen.size === 0
      ? 'No registration matches; no key was deleted.'
      : `${length - unfinished.length} of ${seen.size} revoked.`,
  )
  if (unfinished.length > 0 && !interrupted)
    throw new Error('some keys are not deleted yet; a running server retries, or run this command again')
}

/** Lists the registrations that {@link revokeKeys} would revoke, and notes those that have ended. @returns their numbers */
export async function previewRevocation(
  store: Store,
  selection: Selection,
): Promise<{ revocable: number; ended: number }> {
  const { ended = [], revocable = [] } = Object.groupBy(await select(store, selection), ({ current }) =>
    current.status === 'ended' ? 'ended' : 'revocable',
  )
  for (const one of ended) note(endedLine(one, systemClock()))
  for (const one of revocable) print(line(one))
  return { revocable: revocable.length, ended: ended.length }
}

async function preview(store: Store, selection: Selection): Promise<void> {
  const { revocable, ended } = await previewRevocation(store, selection)
  if (revocable === 0)
    return note(
      `${ended === 0 ? 'No registration matches' : 'There is nothing to revoke'}; nothing was changed.`,
    )
  const [registrations, its] = revocable === 1 ? ['registration', 'its key'] : ['registrations', 'their keys']
  note(`${revocable} ${registrations} would be revoked, and ${its} deleted.`)
  const { ids = [], token, plan } = selection
  const by = [
    ...(token === undefined ? [] : ['--token', token]),
    ...(plan === undefined ? [] : ['--plan', plan]),
  ]
  endDryRun(['registrations', 'revoke', ...ids, ...by])
}

function line({ registration, current }: RegistrationWithKey): string {
  return `${registration.id}  ${current.apiKeyId ?? '-'}  ${current.plan}  ${registration.name}`
}

function endedLine(one: RegistrationWithKey, now: number): string {
  return `${line(one)}  already ${publicStatusOf(one.current, now)}, key deleted at ${showTime(one.current.endedAt)}`
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
    if (page.length < PAGE) break
  }
  if (selected.length === 0) await requireKnown(store, { token: tokenId, plan })
  return selected
}

async function selectOne(store: Store, id: string): Promise<RegistrationWithKey> {
  const registration = await loadRegistration(store, id)
  if (registration.status === 'failed') throw new Error(`${id} failed: it has no key`)
  const { currentId } = registration
  const current = currentId === null ? registration : await store.getRegistration(currentId)
  return { registration, current: current ?? registration }
}
