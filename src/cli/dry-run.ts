import { note } from './output.ts'
import { commandLine } from './shell-quoting.ts'

/**
 * Ends a dry run: says that nothing was changed, and prints the command that acts. Every command that deletes or disables
 * keys is a dry run without `--yes`.
 * @param words the command without `firstkey`
 * @param options those to add to `--yes`
 */
export function endDryRun(words: readonly string[], options: readonly string[] = []): void {
  note(`Nothing was changed. To do this, run: firstkey ${commandLine([...words, '--yes', ...options])}`)
}
