import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import type { Deps } from '../deps.ts'
import { deleteKey } from '../registration/jobs/delete-keys.ts'
import type { Actor } from '../store/audit.ts'
import type { RegistrationWithKey } from '../store/operators.ts'
import type { Store } from '../store/store.ts'
import { finishWork } from './finish-work.ts'
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
      revocations.push({ ...one, ending: ending.map((record) => record.id) })
    }
    if (store.listingLagMs === 0 || (round > 0 && selected.length === 0)) break
  }
  const { length } = revocations
  const { unfinished, interrupted } = await finishWork(deps, {
    items: revocations,
    name: 'keys',
    async isDone({ ending }) {
      for (const id of ending) if ((await store.getRegistration(id))?.status !== 'ended') return false
      return true
    },
    onDone: (one, count) => void process.stderr.write(`${count}/${length}  ${line(one)}  revoked\n`),
    async round(unfinished, leaderLease, stop) {
      for (const id of unfinished.flatMap(({ ending }) => ending)) {
        if (stop.aborted || !(await leaderLease.isHeld())) return
        const record = await store.getRegistration(id)
        // A failure is recorded and logged, on stderr.
        if (record?.status === 'ending')
          await deleteKey(deps, deps.lowPriorityApiGateway, record).catch(() => undefined)
      }
    },
  })
  for (const one of unfinished) process.stderr.write(`${line(one)}  key not deleted yet\n`)
  process.stderr.write(
    length === 0
      ? 'No registration matches; no key was deleted.\n'
      : `${length - unfinished.length} of ${length} revoked.\n`,
  )
  if (unfinished.length > 0 && !interrupted)
    throw new Error('some keys are not deleted yet; a running server retries, or run this command again')
}

async function preview(store: Store, selection: Selection): Promise<void> {
  const selected = await select(store, selection)
  for (const one of selected) process.stdout.write(`${line(one)}\n`)
  const { length } = selected
  const [registrations, them] = length === 1 ? ['registration', 'it'] : ['registrations', 'them']
  process.stderr.write(
    length === 0
      ? 'No registration matches; nothing was changed.\n'
      : `${length} ${registrations} would be revoked. Nothing was changed. To revoke ${them}, add --yes.\n`,
  )
}

function line({ registration, current }: RegistrationWithKey): string {
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
