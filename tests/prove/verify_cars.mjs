// node verify_cars.mjs FILE LENGTH [FILE LENGTH ...] < nothing
// Reads each CAR (its first LENGTH bytes) with @ipld/car, checks every block against its CID, prints {file, roots, blocks}.
import { readFile } from 'node:fs/promises'
import { CarBlockIterator } from '@ipld/car'
import { sha256 } from 'multiformats/hashes/sha2'
import { equals } from 'multiformats/bytes'

const args = JSON.parse(await readFile(process.argv[2], 'utf8'))
for (const [file, length] of args) {
  const bytes = (await readFile(file)).subarray(0, length)
  const car = await CarBlockIterator.fromBytes(bytes)
  const roots = (await car.getRoots()).map(String)
  let blocks = 0
  for await (const { cid, bytes: body } of car) {
    const digest = await sha256.digest(body)
    if (!equals(digest.bytes, cid.multihash.bytes)) throw new Error(`${file}: block ${blocks} is not ${cid}`)
    blocks += 1
  }
  console.log(JSON.stringify({ file, roots, blocks }))
}
