// Runs the demo's steps in a container of docker-compose.yml, beside the service.
import { execFileSync } from 'node:child_process'
import { runSteps, say } from './steps.ts'

const { FIRSTKEY_URL: serviceUrl = '', API_URL: apiUrl = '' } = process.env
try {
  const command = ['tokens', 'create', '--label', 'demo', '--plan', 'free', '--max-uses', '100']
  const token = execFileSync('firstkey', command, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }).trim()
  say(`Bootstrap token (firstkey ${command.join(' ')}):\n   ${token}`)
  console.log(await runSteps({ serviceUrl, apiUrl, token, publicUrl: 'http://localhost:3000' }))
} catch (error) {
  console.error(`The demo failed: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
