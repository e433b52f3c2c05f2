import { z } from 'zod'
import { badRequest, conflict } from '../api-error.ts'
import type { DomainName } from '../domain-name.ts'
import { type Operation, on } from '../operation.ts'
import { page, serialOf } from '../page.ts'
import { invalidPath, read, readPatches, tags } from '../read-input.ts'

const newDomainName = z.object({
  domainName: z.string().regex(/^(\*\.)?([a-z0-9-]{1,63}\.)+[a-z]{2,63}$/),
  certificateArn: z.string().exactOptional(),
  regionalCertificateArn: z.string().exactOptional(),
  securityPolicy: z.string().default('TLS_1_2'),
  endpointConfiguration: z
    .object({
      types: z
        .array(z.enum(['REGIONAL', 'EDGE', 'PRIVATE']))
        .length(1)
        .default(['EDGE']),
      ipAddressType: z.enum(['ipv4', 'dualstack']).default('ipv4'),
    })
    .default({ types: ['EDGE'], ipAddressType: 'ipv4' }),
  tags: tags.default({}),
})

export const domainNameOperations = {
  CreateDomainName: {
    ...on('POST', '/domainnames', 201),
    run({ account, options, body }) {
      const order = read(newDomainName, body)
      if (account.domains.all.has(order.domainName))
        throw conflict('The domain name you provided already exists.')
      const isEdge = order.endpointConfiguration.types[0] === 'EDGE'
      if ((isEdge ? order.certificateArn : order.regionalCertificateArn) === undefined)
        throw badRequest('A certificate must be provided for the domain name.')
      return domainBody(account.domains.add(order), options.region)
    },
  },
  GetDomainNames: {
    ...on('GET', '/domainnames', 200),
    run: ({ account, options, query }) =>
      page([...account.domains.all.values()], query, serialOf, (one) => domainBody(one, options.region)),
  },
  GetDomainName: {
    ...on('GET', '/domainnames/:domainName', 200),
    run: ({ account, options, params }) =>
      domainBody(account.domains.get(params['domainName'] ?? ''), options.region),
  },
  UpdateDomainName: {
    ...on('PATCH', '/domainnames/:domainName', 200),
    run({ account, options, params, body }) {
      const domain = account.domains.get(params['domainName'] ?? '')
      const changes: Partial<DomainName> = {}
      for (const patch of readPatches(body)) {
        if (patch.op !== 'replace') throw invalidPath(patch)
        if (patch.path === '/certificateArn') changes.certificateArn = patch.value
        else if (patch.path === '/regionalCertificateArn') changes.regionalCertificateArn = patch.value
        else if (patch.path === '/securityPolicy') changes.securityPolicy = patch.value
        else throw invalidPath(patch)
      }
      return domainBody(Object.assign(domain, changes), options.region)
    },
  },
  DeleteDomainName: {
    ...on('DELETE', '/domainnames/:domainName', 202),
    run: ({ account, params }) => {
      account.domains.all.delete(account.domains.get(params['domainName'] ?? '').domainName)
    },
  },
} satisfies Record<string, Operation>

function domainBody({ serial, mappings: _, ...rest }: DomainName, region: string) {
  const isEdge = rest.endpointConfiguration.types.includes('EDGE')
  return {
    ...rest,
    domainNameArn: `arn:aws:apigateway:${region}::/domainnames/${rest.domainName}`,
    domainNameStatus: 'AVAILABLE',
    ...(isEdge
      ? { distributionDomainName: `d${serial}.cloudfront.net` }
      : { regionalDomainName: `d-${serial}.execute-api.${region}.amazonaws.com` }),
  }
}
