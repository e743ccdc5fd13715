// The routes of the peers on Fastify, with schemas for what comes and what goes, as its documentation advises.

import { cartJson, visitsJson, withProduct, withQuantity } from './shop.js'

const quantity = { type: 'integer', minimum: 0 }
const item = {
  type: 'object',
  properties: {
    product_id: { type: 'integer' },
    name: { type: 'string' },
    price: { type: 'number' },
    quantity
  },
  required: ['product_id', 'name', 'price', 'quantity']
}
const line = { type: 'object', properties: { ...item.properties, subtotal: { type: 'number' } } }
const cart = {
  type: 'object',
  properties: {
    items: { type: 'array', items: line },
    item_count: { type: 'integer' },
    unique_items: { type: 'integer' },
    total: { type: 'number' }
  }
}
const changed = { type: 'object', properties: { quantity }, required: ['quantity'] }
const product = { type: 'object', properties: { id: { type: 'integer' } } }
const visits = { type: 'object', properties: { visit_count: { type: 'integer' }, message: { type: 'string' } } }
const pong = { type: 'object', properties: { status: { type: 'string' } } }

export function ping (app) {
  app.get('/ping', { schema: { response: { 200: pong } } }, async () => ({ status: 'ok' }))
}

export function shop (app) {
  app.get('/api/cart', { schema: { response: { 200: cart } } }, async request => {
    return cartJson(request.session.get('cart') ?? [])
  })

  app.post('/api/cart/add', { schema: { body: item, response: { 200: cart } } }, async request => {
    const items = withProduct(request.session.get('cart') ?? [], request.body)
    request.session.set('cart', items)
    return cartJson(items)
  })

  const setQuantity = { body: changed, params: product, response: { 200: cart } }
  app.put('/api/cart/:id', { schema: setQuantity }, async (request, reply) => {
    const items = withQuantity(request.session.get('cart') ?? [], request.params.id, request.body.quantity)
    if (!items) return reply.code(404).send({ error: 'Product not in cart' })
    request.session.set('cart', items)
    return cartJson(items)
  })

  app.get('/visit-counter', { schema: { response: { 200: visits } } }, async request => {
    const count = (request.session.get('visits') ?? 0) + 1
    request.session.set('visits', count)
    return visitsJson(count)
  })
}
