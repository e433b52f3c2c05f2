import { stringify } from 'yaml'
import { badRequest } from '../api-error.ts'
import { exportSnapshot } from '../export-snapshot.ts'
import { type Operation, on, RawAnswer } from '../operation.ts'
import { deployment, stage } from '../rest-apis.ts'

export const exportOperations = {
  GetExport: {
    ...on('GET', '/restapis/:apiId/stages/:stageName/exports/:exportType', 200),
    run({ account, options, params, query, headers }) {
      const api = account.restApis.get(params['apiId'] ?? '')
      const { stageName, deploymentId } = stage(api, params['stageName'] ?? '')
      const exportType = params['exportType']
      if (exportType !== 'oas30' && exportType !== 'swagger')
        throw badRequest(`No API exporter for type '${exportType}'`)
      const document = exportSnapshot(deployment(api, deploymentId).snapshot, {
        api,
        stageName,
        exportType,
        region: options.region,
        extensions: query['extensions']?.split(',') ?? [],
      })
      const asYaml = String(headers['accept'] ?? '').includes('yaml')
      const file = `${exportType}_${document.info.version}.${asYaml ? 'yaml' : 'json'}`
      return new RawAnswer(asYaml ? stringify(document) : JSON.stringify(document, null, 2), {
        'content-type': 'application/octet-stream',
        'content-disposition': `attachment; filename="${file}"`,
      })
    },
  },
} satisfies Record<string, Operation>
