import { DEFAULT_STAGE } from '../setup/new-api.ts'
import type { PatchTool } from '../setup/patches/print-patch.ts'

/** The options of `firstkey setup`. */
export interface SetupArguments {
  readonly api?: string
  readonly new?: string
  readonly stage?: string
  readonly plan: readonly string[]
  readonly methods: readonly string[]
  readonly throttle: readonly string[]
  readonly delete?: string | true
  readonly force?: true
  readonly yes?: true
  readonly print?: PatchTool
  readonly json?: true
}

const API_ID = /^[A-Za-z0-9]{1,64}$/
const STAGE_NAME = /^[A-Za-z0-9_-]{1,128}$/
/** The name of a new API, which is also the value of a tag. */
const API_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/

/** Finds what is wrong with the options themselves. */
export function usageFaults(options: SetupArguments): string[] {
  const { api, new: name, stage, delete: removal, plan, methods, throttle, print: tool, yes, json } = options
  const faults: string[] = []
  if (removal === undefined && (api === undefined) === (name === undefined))
    faults.push('name either an API, --api ID, or a new one, --new NAME')
  if (removal !== undefined && api !== undefined)
    faults.push('--delete removes only what --new made: an API of your own stays')
  if (removal === true && name === undefined) faults.push('--delete needs the name: --new NAME --delete')
  if (typeof removal === 'string' && name !== undefined && removal !== name)
    faults.push(`--delete ${removal} and --new ${name} are different APIs`)
  if (removal !== undefined && [...plan, ...methods, ...throttle].length > 0)
    faults.push('--delete takes no --plan, --methods and --throttle: it removes all that --new made')
  if (tool !== undefined && (api === undefined || yes || json))
    faults.push('--print needs --api ID of an existing API, and excludes --yes and --json')
  if (api !== undefined && !API_ID.test(api))
    faults.push(`--api "${api}" is not the id of an API, which is like a1b2c3d4e5`)
  for (const [option, one] of [
    ['--new', name],
    ['--delete', removal],
  ] as const)
    if (typeof one === 'string' && !API_NAME.test(one))
      faults.push(`${option} "${one}" is not a name like hello: it has letters, digits, dots, - and _`)
  if (stage !== undefined && !STAGE_NAME.test(stage))
    faults.push(`--stage "${stage}" is not a name of a stage, which is like ${DEFAULT_STAGE}`)
  return faults
}

/** Returns the words of the command without `firstkey`, `--yes` and `--force`. */
export function wordsOf(options: SetupArguments): string[] {
  const { api, new: name, stage, plan, methods, throttle, delete: removal, json } = options
  const pairs: [option: string, values: readonly (string | undefined)[]][] = [
    ['--api', [api]],
    ['--new', [name]],
    ['--stage', [stage]],
    ['--plan', plan],
    ['--methods', methods],
    ['--throttle', throttle],
  ]
  return [
    'setup',
    ...pairs.flatMap(([option, values]) =>
      values.flatMap((value) => (value === undefined ? [] : [option, value])),
    ),
    ...(removal === undefined ? [] : removal === true ? ['--delete'] : ['--delete', removal]),
    ...(json ? ['--json'] : []),
  ]
}
