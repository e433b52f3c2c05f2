import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const pom = join(import.meta.dirname, 'pom.xml')
const cache = join(import.meta.dirname, '../../node_modules/.cache/dynamodb-local')

/** The oldest Java that the pinned version runs on. */
const NEEDED_JAVA = 17

/**
 * The folder with the jars and native libraries that pom.xml names, fetched with Maven the first time. Throws an Error
 * that says what to install when Java or Maven is missing or Java is too old.
 */
export async function dynamoDbLocalJars(): Promise<string> {
  await checkJava()
  // A folder for each content of pom.xml, that gets its name only when it is whole: an interrupted fetch leaves none.
  const hash = createHash('sha256')
    .update(await readFile(pom))
    .digest('hex')
  const jars = join(cache, hash.slice(0, 16))
  if (existsSync(jars)) return jars
  const fetched = await fetchJars()
  try {
    await rename(fetched, jars)
  } catch (error) {
    // Another process was first.
    if (!existsSync(jars)) throw error
    await rm(fetched, { recursive: true })
  }
  return jars
}

async function checkJava(): Promise<void> {
  const { stderr } = await run('java', ['-version']).catch((error) => {
    throw isMissing(error) ? missing('java') : error
  })
  const version = stderr.match(/version "(\d+)/)?.[1]
  if (Number(version) < NEEDED_JAVA) {
    throw new Error(
      `DynamoDB Local needs Java ${NEEDED_JAVA} or newer, but java is version ${version}. ${howToInstall}`,
    )
  }
}

async function fetchJars(): Promise<string> {
  await mkdir(cache, { recursive: true })
  const dir = await mkdtemp(join(cache, 'fetching-'))
  const goals = ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${dir}`]
  try {
    await run('mvn', [...goals, '-DincludeScope=runtime'])
  } catch (error) {
    await rm(dir, { recursive: true })
    throw isMissing(error)
      ? missing('mvn')
      : new Error(`Maven could not fetch DynamoDB Local:\n${printed(error)}`, { cause: error })
  }
  return dir
}

const howToInstall =
  'On Debian and Ubuntu: apt-get install openjdk-17-jre-headless maven. Elsewhere: a Java runtime, 17 or newer, and Apache Maven, both on the PATH.'

const missing = (program: string) =>
  new Error(`DynamoDB Local cannot run: there is no '${program}' on the PATH. ${howToInstall}`)

const isMissing = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'ENOENT'

/** Maven explains its errors on stdout, not on stderr. */
const printed = (error: unknown) => (error instanceof Error && 'stdout' in error ? error.stdout : error)
