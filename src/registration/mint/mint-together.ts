import { mintBulk } from './mint-bulk.ts'
import type { MintDeps } from './mint-deps.ts'
import type { PendingMint } from './mint-request.ts'
import { mintOneByOne, mintSingle } from './mint-single.ts'

/** Reports whether keys are imported now, rather than made one by one. */
export function usesImports({ config, importBreaker }: MintDeps): boolean {
  return config.mintMode !== 'single' && importBreaker.isClosed()
}

/**
 * Mints the keys of a batch: by an import, or singly where that is faster or imports do not work.
 * @param imported is called when no import of these is needed any more, and their keys are being checked
 */
export async function mintTogether(
  deps: MintDeps,
  mints: readonly PendingMint[],
  signal: AbortSignal,
  imported: () => void,
): Promise<void> {
  const [first, second] = mints
  if (first === undefined) return
  if (!usesImports(deps)) await mintOneByOne(deps, mints, signal)
  else if (second === undefined && deps.config.mintMode !== 'bulk') await mintSingle(deps, first, signal)
  else await mintBulk(deps, mints, signal, imported)
}
