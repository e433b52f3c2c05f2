import { join } from 'node:path'
import { cachedFolder } from '../cached-folder.ts'
import { runCommand } from '../run-command.ts'

const VERSION = '26.7.3'
const DISTRIBUTION = `org.keycloak:keycloak-quarkus-dist:${VERSION}:zip`

const REMEDY = 'Install Maven and Java 17 or newer (.ci/keycloak does this).'

/** Returns the folder of Keycloak. The first call fetches it from Maven Central (177 MB) and unpacks it into the checkout's cache. */
export async function installKeycloak(): Promise<string> {
  const folder = await cachedFolder('keycloak', DISTRIBUTION, async (target) => {
    process.stderr.write(`Fetching Keycloak ${VERSION} with Maven (once, 177 MB)…\n`)
    const args = [
      '-q',
      '-B',
      'dependency:unpack',
      `-Dartifact=${DISTRIBUTION}`,
      `-DoutputDirectory=${target}`,
    ]
    await runCommand('mvn', args, target).catch((error) => {
      throw new Error(`Maven could not fetch ${DISTRIBUTION}. ${REMEDY}\n${error.message}`)
    })
  })
  return join(folder, `keycloak-${VERSION}`)
}
