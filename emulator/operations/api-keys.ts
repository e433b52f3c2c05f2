import { z } from 'zod'
import type { Account, ApiKey } from '../account.ts'
import { badRequest } from '../api-error.ts'
import { spoils } from '../faults.ts'
import { importKeys } from '../import-keys.ts'
import { type Operation, on } from '../operation.ts'
import { page, serialOf } from '../page.ts'
import { invalidPath, type Patch, read, readBoolean, readPatches, tags } from '../read-input.ts'
import { listed } from './listed.ts'

const newKey = z.object({
  name: z.string().optional(),
  description: z.string().optional(),
  customerId: z.string().optional(),
  enabled: z.boolean().optional(),
  value: z.string().optional(),
  tags: tags.optional(),
})

export const apiKeyOperations = {
  CreateApiKey: {
    ...on('POST', '/apikeys', 201),
    run({ account, body, fault }) {
      const key = account.createKey(read(newKey, body))
      if (spoils(fault, 'disabled', key)) key.enabled = false
      return keyBody(key, true)
    },
  },
  ImportApiKeys: {
    ...on('POST', '/apikeys', 201),
    run({ account, query, body, fault, options: { importOverQuota: overQuota } }) {
      if (query['format'] !== 'csv') throw badRequest('The format must be csv')
      const failOnWarnings = query['failonwarnings'] === 'true'
      const result = importKeys(account, String(body), { failOnWarnings, overQuota })
      for (const id of result.ids) {
        const key = account.key(id)
        if (spoils(fault, 'disabled', key)) key.enabled = false
        if (spoils(fault, 'unattached', key)) key.planIds.clear()
      }
      return result
    },
  },
  GetApiKeys: {
    ...on('GET', '/apikeys', 200),
    run: ({ account, query, fault }) => {
      const { customerId } = query
      const found = account
        .keysNamed(query['name'] ?? '')
        .filter((key) => customerId === undefined || key.customerId === customerId)
      return page(
        listed(found, fault, (key) => key),
        query,
        serialOf,
        (key) => keyBody(key, query['includeValues'] === 'true'),
      )
    },
  },
  GetApiKey: {
    ...on('GET', '/apikeys/:keyId', 200),
    run: ({ account, params, query }) =>
      keyBody(account.key(params['keyId'] ?? ''), query['includeValue'] === 'true'),
  },
  UpdateApiKey: {
    ...on('PATCH', '/apikeys/:keyId', 200),
    run: ({ account, params, body }) => {
      const key = account.key(params['keyId'] ?? '')
      const patches = readPatches(body)
      for (const one of patches) requireKeyPatch(one)
      for (const one of patches) patchKey(account, key, one)
      key.updatedAt = Date.now()
      return keyBody(key, false)
    },
  },
  DeleteApiKey: {
    ...on('DELETE', '/apikeys/:keyId', 202),
    run: ({ account, params }) => account.deleteKey(params['keyId'] ?? ''),
  },
} satisfies Record<string, Operation>

/** @throws ApiError 400 for a change that {@link patchKey} cannot make */
function requireKeyPatch(one: Patch): void {
  if (one.op !== 'replace' || !['/name', '/description', '/customerId', '/enabled'].includes(one.path))
    throw invalidPath(one)
  if (one.path === '/name' && one.value.length > 1_024)
    throw badRequest('Invalid API Key name, can be at most 1024 characters.')
}

function patchKey(account: Account, key: ApiKey, patch: Patch): void {
  if (patch.path === '/name') account.rename(key, patch.value)
  else if (patch.path === '/description') key.description = patch.value
  else if (patch.path === '/customerId') key.customerId = patch.value
  else key.enabled = readBoolean(patch)
}

function keyBody(key: ApiKey, withValue: boolean) {
  return {
    id: key.id,
    ...(withValue ? { value: key.value } : {}),
    name: key.name,
    ...(key.description === undefined ? {} : { description: key.description }),
    ...(key.customerId === undefined ? {} : { customerId: key.customerId }),
    enabled: key.enabled,
    createdDate: Math.floor(key.createdAt / 1_000),
    lastUpdatedDate: Math.floor(key.updatedAt / 1_000),
    stageKeys: [],
    tags: key.tags,
  }
}
