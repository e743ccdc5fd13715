// What the peers on Node do, as benchmarks/shop.py has it for those in Python.

export function withProduct (items, added) {
  const line = items.find(item => item.product_id === added.product_id)
  if (!line) return [...items, added]
  line.quantity += added.quantity
  return items
}

// undefined when the product is not in the cart
export function withQuantity (items, productId, quantity) {
  const line = items.find(item => item.product_id === productId)
  if (!line) return undefined
  line.quantity = quantity
  return items
}

export function cartJson (items) {
  const lines = items.map(item => ({ ...item, subtotal: cents(item.price * item.quantity) }))
  return {
    items: lines,
    item_count: lines.reduce((sum, line) => sum + line.quantity, 0),
    unique_items: lines.length,
    total: cents(lines.reduce((sum, line) => sum + line.subtotal, 0))
  }
}

export function visitsJson (count) {
  return { visit_count: count, message: `You have visited this page ${count === 1 ? '1 time' : `${count} times`}` }
}

function cents (amount) {
  return Math.round(amount * 100) / 100
}
