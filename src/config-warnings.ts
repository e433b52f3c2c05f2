import { dirname, resolve } from 'node:path'
import type { Config } from './config.ts'
import { didYouMean } from './did-you-mean.ts'
import { type VariableName, variableTexts } from './variables.ts'

type Variables = Readonly<Record<string, string | undefined>>

/** A mistake in the configuration with which the service works, but perhaps not as intended. */
export interface ConfigWarning {
  readonly variable: string
  readonly message: string
}

const KNOWN = Object.keys(variableTexts)
/** The beginnings of this service's own names, such as `RATE_LIMIT_`; other programs have no such variables. */
const OWN_PREFIXES = KNOWN.flatMap((name) => {
  const words = name.split('_')
  return words.length < 3 || words[0] === 'AWS' ? [] : [`${words.slice(0, 2).join('_')}_`]
})

/**
 * Lists what is likely to be a mistake in a valid configuration.
 * @param mounts the content of `/proc/self/mountinfo`; '' where there is none
 */
export function configWarnings(env: Variables, config: Config, mounts: string): ConfigWarning[] {
  return [...unknownVariables(env), ...publicUrlWarnings(env, config), ...storeWarnings(env, config, mounts)]
}

function isSet(env: Variables, name: VariableName): boolean {
  return (env[name]?.trim() ?? '') !== ''
}

/** Variables whose name is close to one of this service, or begins like one. */
function unknownVariables(env: Variables): ConfigWarning[] {
  return (
    Object.keys(env)
      // The SDK has such a variable for every service of AWS.
      .filter((name) => !KNOWN.includes(name) && !name.startsWith('AWS_ENDPOINT_URL_'))
      .map((variable) => ({ variable, suggestion: didYouMean(variable, KNOWN) }))
      .filter(
        ({ variable, suggestion }) =>
          suggestion !== '' || OWN_PREFIXES.some((own) => variable.startsWith(own)),
      )
      .map(({ variable, suggestion }) => ({
        variable,
        message: `${variable} is not a variable of firstkey and has no effect${suggestion}`,
      }))
  )
}

function publicUrlWarnings(env: Variables, { publicUrl }: Config): ConfigWarning[] {
  const { protocol, hostname } = new URL(publicUrl)
  const warn = (message: string): ConfigWarning[] => [{ variable: 'PUBLIC_URL', message }]
  if (!isSet(env, 'PUBLIC_URL'))
    return warn(
      `PUBLIC_URL is not set: every URL in a response begins with ${publicUrl}, which only this machine can reach`,
    )
  if (protocol === 'https:' || isLocal(hostname)) return []
  return warn(
    `PUBLIC_URL is ${publicUrl}: callers send their tokens there, and get their keys, without encryption. Use https`,
  )
}

/** Reports whether the host of a URL is this machine. */
function isLocal(hostname: string): boolean {
  return /^(?:(?:.*\.)?localhost\.?|127\.[\d.]+|\[::1\])$/.test(hostname)
}

function storeWarnings(env: Variables, { store }: Config, mounts: string): ConfigWarning[] {
  if (store.kind !== 'sqlite' || store.path === ':memory:') return []
  const path = resolve(store.path)
  const { isLayer, isAnonymous } = mountOf(dirname(path), mounts)
  const warn = (message: string): ConfigWarning[] => [{ variable: 'STORE', message }]
  if (!isSet(env, 'STORE') && (isLayer || env['NODE_ENV'] === 'production'))
    return warn(
      `STORE is not set: registrations are stored in ${path}. With a container they would be deleted: set STORE to a file on ` +
        'a volume, for example sqlite:/data/firstkey.db',
    )
  if (isAnonymous)
    return warn(
      `the store ${path} is on an anonymous volume, which the next container does not get: mount a volume with a name, for ` +
        'example with -v firstkey-data:/data',
    )
  return []
}

/**
 * Returns where a folder is stored.
 * @returns `isLayer`: with a container, and nowhere else; `isAnonymous`: on a volume that a container engine named
 */
function mountOf(folder: string, mounts: string): { isLayer: boolean; isAnonymous: boolean } {
  const parsed = mounts.split('\n').flatMap((line) => {
    // proc_pid_mountinfo(5): id, parent, device, root, mount point, options, optional fields, "-", type of file system
    const [, root, point, type] = line.match(/^\d+ \d+ \S+ (\S+) (\S+) .*? - (\S+) /) ?? []
    return root === undefined || point === undefined ? [] : [{ root, point, type }]
  })
  const mount = parsed
    .filter(({ point }) => `${folder}/`.startsWith(point === '/' ? '/' : `${point}/`))
    .reduce<(typeof parsed)[number] | undefined>(
      (longest, one) => (one.point.length >= (longest?.point.length ?? 0) ? one : longest),
      undefined,
    )
  return {
    isLayer: mount?.point === '/' && mount.type === 'overlay',
    isAnonymous: /\/volumes\/[\da-f]{64}\/_data$/.test(mount?.root ?? ''),
  }
}
