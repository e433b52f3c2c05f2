// The identity provider of the demo. It is a process of its own, because oidc-provider warns that it is not for production.
import { startProvider } from '../test/support/identity/provider.ts'
import { ACCOUNT } from './login.ts'

const [port, clientSecret = '', redirectUri = ''] = process.argv.slice(2)
const { login, password, claims } = ACCOUNT
const { issuer } = await startProvider({
  port: Number(port),
  clientSecret,
  redirectUris: [redirectUri],
  accounts: { [login]: { password, claims } },
})
console.log(issuer)
