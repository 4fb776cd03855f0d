// The programs of npm. Lives beside their node_modules; arguments and answers are JSON.
//   node peers.mjs serve                   one request a line on standard input, one answer a line: {do, ...} -> {seconds, ...}
//   node peers.mjs pack FOLDER CAR         ipfs-unixfs-importer and @ipld/car; prints the root CID
//   node peers.mjs hash FOLDER             the same without a CAR
//   node peers.mjs piece PACKAGE FILE      CommP of a file, read as a stream; prints the piece CID (v2)
import { createReadStream, createWriteStream } from 'node:fs'
import { opendir, open, readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { CarWriter } from '@ipld/car/writer'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { importer, importBytes } from 'ipfs-unixfs-importer'

const PROFILE = { profile: 'unixfs-v1-2025' }
const READ_BYTES = 1 << 20
const RAW = 0x55

async function hasherOf (name) {
  if (name === 'wasm') {
    const { create } = await import('fr32-sha2-256-trunc254-padded-binary-tree-multihash')
    return () => {
      const hasher = create()
      return {
        write: bytes => hasher.write(bytes),
        multihash: () => {
          const out = new Uint8Array(hasher.multihashByteLength())
          hasher.digestInto(out, 0, true)
          hasher.free()
          return out
        }
      }
    }
  }
  const { create } = await import('@web3-storage/data-segment/multihash')
  return () => {
    const hasher = create()
    return { write: bytes => hasher.write(bytes), multihash: () => hasher.digest().bytes }
  }
}

const pieceCid = multihash => CID.createV1(RAW, Digest.decode(multihash)).toString()

async function piece (name, file) {
  const hasher = (await hasherOf(name))()
  for await (const bytes of createReadStream(file, { highWaterMark: READ_BYTES })) hasher.write(bytes)
  return pieceCid(hasher.multihash())
}

async function * filesBelow (folder, prefix = '') {
  for await (const entry of await opendir(folder)) {
    const path = prefix ? `${prefix}/${entry.name}` : entry.name
    if (entry.isDirectory()) yield * filesBelow(join(folder, entry.name), path)
    else yield { path, content: lazily(join(folder, entry.name)) }
  }
}

async function * lazily (file) { // opened when it is read: 200,000 open streams are too many
  yield * createReadStream(file, { highWaterMark: READ_BYTES })
}

async function importInto (source, put) {
  let root
  for await (const entry of importer(source, { put }, { ...PROFILE, wrapWithDirectory: true })) root = entry.cid
  return root
}

async function hash (folder) {
  return (await importInto(filesBelow(folder), async cid => cid)).toString()
}

async function pack (folder, car) {
  const placeholder = CID.parse('bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi')
  const { writer, out } = CarWriter.create([placeholder])
  const file = Readable.from(out).pipe(createWriteStream(car))
  const root = await importInto(filesBelow(folder), async (cid, bytes) => {
    await writer.put({ cid, bytes })
    return cid
  })
  await writer.close()
  await finished(file)
  const handle = await open(car, 'r+')
  await CarWriter.updateRootsInFile(handle, [root])
  await handle.close()
  return root.toString()
}

const kept = new Map()

const requests = {
  // CommP of the first `length` bytes of a file
  async piece ({ package: name, file, length }) {
    const create = await hasherOf(name)
    if (!kept.has(file)) kept.set(file, await readFile(file))
    const bytes = kept.get(file).subarray(0, length)
    return () => {
      const hasher = create()
      for (let at = 0; at < length; at += READ_BYTES) hasher.write(bytes.subarray(at, at + READ_BYTES))
      return pieceCid(hasher.multihash())
    }
  },
  // the file's CID
  async file ({ file, length }) {
    if (!kept.has(file)) kept.set(file, await readFile(file))
    const bytes = kept.get(file).subarray(0, length)
    return async () => (await importBytes(bytes, { put: async cid => cid }, PROFILE)).cid.toString()
  },
  // a directory of `count` empty files
  async directory ({ count }) {
    const content = new Uint8Array(0)
    const source = function * () { for (let n = 0; n < count; n++) yield { path: `file-${n}`, content } }
    return async () => (await importInto(source(), async cid => cid)).toString()
  }
}

const [what, ...rest] = process.argv.slice(2)
if (what === 'serve') {
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    const work = await requests[request.do](request)
    const cpu = process.cpuUsage()
    const begin = performance.now()
    const result = await work()
    const seconds = (performance.now() - begin) / 1000
    const used = process.cpuUsage(cpu)
    console.log(JSON.stringify({ seconds, cpu_seconds: (used.user + used.system) / 1e6, result }))
  }
} else {
  console.log(await { pack, hash, piece }[what](...rest))
}
