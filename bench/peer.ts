// The peer of bench:steady: dynamic client registration of oidc-provider, with its in-memory store.

import getPort from 'get-port'
// @ts-expect-error The package contains no types.
import { Provider } from 'oidc-provider'

const url = `http://127.0.0.1:${await getPort()}`
const provider = new Provider(url, { features: { registration: { enabled: true } } })
provider.listen({ host: '127.0.0.1', port: Number(new URL(url).port), backlog: 4_096 }, () => {
  process.stdout.write(`${url}\n`)
})
process.once('SIGTERM', () => process.exit(0))
