import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

type Variables = Readonly<Record<string, string | undefined>>

/** The characters of credentials. Node.js could send no request with any other, so that AWS would seem not to respond. */
const CREDENTIAL = /^[!-~]+$/
/** The hosts to which the SDK sends an `http:` request for credentials (besides 127.0.0.0/8). */
const METADATA_HOSTS = new Set(['localhost', '[::1]', '169.254.170.2', '169.254.170.23', '[fd00:ec2::23]'])

/**
 * Lists the faults of the variables that the SDK reads itself: its credentials, and the certificates of Node.js. It would
 * report them only with the first call, and some as if AWS did not respond. Variables that another one overrides are not
 * checked.
 * @returns each fault as the name of the variable and what is wrong
 */
export function credentialFaults(env: Variables): string[] {
  return [...sourceFaults(env), ...fileFaults(env, 'NODE_EXTRA_CA_CERTS')]
}

/** The faults of the first source of credentials that the SDK's chain would use. */
function sourceFaults(env: Variables): string[] {
  if (env['AWS_PROFILE']) return profileFaults(env, env['AWS_PROFILE'])
  if (env['AWS_ACCESS_KEY_ID'] && env['AWS_SECRET_ACCESS_KEY']) return characterFaults(env)
  if (env['AWS_WEB_IDENTITY_TOKEN_FILE']) return webIdentityFaults(env)
  return containerFaults(env)
}

function characterFaults(env: Variables): string[] {
  const names = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']
  return names
    .filter((name) => !CREDENTIAL.test(env[name] || '-'))
    .map((name) => `${name} contains a space, a line break or another character that no credential has`)
}

function profileFaults(env: Variables, profile: string): string[] {
  const folder = join(env['HOME'] || homedir(), '.aws')
  const files = [
    env['AWS_SHARED_CREDENTIALS_FILE'] || join(folder, 'credentials'),
    env['AWS_CONFIG_FILE'] || join(folder, 'config'),
  ]
  if (files.some((file) => profilesIn(file).includes(profile))) return []
  return [`AWS_PROFILE names the profile "${profile}", which is neither in ${files.join(' nor in ')}`]
}

/** Returns the names of the profiles in a file of AWS's tools: `[name]`, or `[profile name]`. */
function profilesIn(file: string): string[] {
  const { text } = read(file)
  return text.split('\n').flatMap((line) => {
    const [, section] = line.match(/^\s*\[([^\]]*)\]/) ?? []
    return section === undefined
      ? []
      : section
          .trim()
          .replace(/^profile\s+/, '')
          .replaceAll(/["']/g, '')
  })
}

function webIdentityFaults(env: Variables): string[] {
  const role = env['AWS_ROLE_ARN']
    ? []
    : [
        'AWS_ROLE_ARN is required next to AWS_WEB_IDENTITY_TOKEN_FILE: it must be the ARN of a role, for example ' +
          'arn:aws:iam::123456789012:role/firstkey',
      ]
  return [...role, ...fileFaults(env, 'AWS_WEB_IDENTITY_TOKEN_FILE')]
}

function containerFaults(env: Variables): string[] {
  const relative = env['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI']
  const full = env['AWS_CONTAINER_CREDENTIALS_FULL_URI']
  const faults = []
  if (relative && !relative.startsWith('/'))
    faults.push('AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must be a path that starts with a slash')
  if (full && !relative && !isMetadataUrl(full))
    faults.push(
      'AWS_CONTAINER_CREDENTIALS_FULL_URI must be an https:// URL, or an http:// URL of this machine or of the ' +
        'container service, for example http://169.254.170.23/v1/credentials',
    )
  return [...faults, ...fileFaults(env, 'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE')]
}

function isMetadataUrl(text: string): boolean {
  const url = URL.parse(text)
  if (url?.protocol === 'https:') return true
  return url?.protocol === 'http:' && (METADATA_HOSTS.has(url.hostname) || /^127\.[\d.]+$/.test(url.hostname))
}

/** A variable that names a file which is missing, unreadable or empty. */
function fileFaults(env: Variables, name: string): string[] {
  const file = env[name]
  if (!file) return []
  const { text, reason } = read(file)
  if (reason !== undefined) return [`${name} names ${file}, which cannot be read: ${reason}`]
  return text.trim() === '' ? [`${name} names ${file}, which is empty`] : []
}

/** @returns `reason`: the file cannot be read */
function read(file: string): { text: string; reason?: string } {
  try {
    return { text: readFileSync(file, 'utf8') }
  } catch (error) {
    return { text: '', reason: error instanceof Error ? error.message : String(error) }
  }
}
