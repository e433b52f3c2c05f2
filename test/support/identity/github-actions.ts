import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { githubClaims } from './claims.ts'
import type { Claims, TestIssuer } from './issuer.ts'

export interface GitHubActions {
  /** The variables of a job that has the permission `id-token: write`. */
  readonly env: Readonly<Record<string, string>>
  /** The audiences that were requested so far; `null`: none was named. */
  readonly audiences: (string | null)[]
  /** The tokens that were given out so far. */
  readonly tokens: string[]
  /** Responses to the next requests instead of a token, by status; 0 closes the connection. */
  readonly failures: number[]
  /** More claims of the next tokens, or others. */
  claims: Claims
}

/** Starts the endpoint at which a job of GitHub Actions gets identity tokens, here those of `issuer`, until the test ends. */
export async function startGitHubActions(
  t: Pick<TestContext, 'after'>,
  issuer: TestIssuer,
): Promise<GitHubActions> {
  const bearer = 'the token of the job for this endpoint'.replaceAll(' ', '-')
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://127.0.0.1')
    const failure = actions.failures.shift()
    if (failure === 0) return void request.socket.destroy()
    const respond = (status: number, content: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(content))
    if (failure !== undefined) return void respond(failure, { message: 'Not now' })
    const isAllowed = request.headers.authorization?.toLowerCase() === `bearer ${bearer}`
    if (!isAllowed || url.searchParams.get('api-version') !== '2.0')
      return void respond(401, { message: 'Not authorized' })
    const audience = url.searchParams.get('audience')
    actions.audiences.push(audience)
    const value = issuer.sign({
      ...githubClaims(actions.claims),
      aud: audience ?? 'https://github.com/acme',
    })
    actions.tokens.push(value)
    respond(200, { count: 1, value })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const actions: GitHubActions = {
    env: {
      GITHUB_ACTIONS: 'true',
      GITHUB_REPOSITORY: 'acme/agents',
      ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/idtoken?api-version=2.0`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: bearer,
    },
    audiences: [],
    tokens: [],
    failures: [],
    claims: {},
  }
  return actions
}
