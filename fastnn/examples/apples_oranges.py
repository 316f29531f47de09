"""Two apples at 100 yen and three oranges at 150, with a tax of 10 %: the price, and what it depends on how much."""

from fastnn import plots
from fastnn.examples import Run, start
from fastnn.layers import AddLayer, MulLayer

apple, apple_num, orange, orange_num, tax = 100, 2, 150, 3, 1.1


def main(run: Run) -> None:
    mul_apple_layer, mul_orange_layer, mul_tax_layer = MulLayer(), MulLayer(), MulLayer()
    add_apple_orange_layer = AddLayer()

    apple_price = mul_apple_layer.forward(apple, apple_num)
    orange_price = mul_orange_layer.forward(orange, orange_num)
    all_price = add_apple_orange_layer.forward(apple_price, orange_price)
    price = mul_tax_layer.forward(all_price, tax)

    dprice = 1
    dall_price, dtax = mul_tax_layer.backward(dprice)
    dapple_price, dorange_price = add_apple_orange_layer.backward(dall_price)
    dorange, dorange_num = mul_orange_layer.backward(dorange_price)
    dapple, dapple_num = mul_apple_layer.backward(dapple_price)

    run.row("price", None, price)
    gradients = {
        "an apple's price": dapple, "number of apples": dapple_num, "an orange's price": dorange,
        "number of oranges": dorange_num, "tax": dtax,
    }  # fmt: skip
    for name, value in gradients.items():
        run.row(f"the price grows by so much with: {name}", None, float(value))
    nodes = [
        (mul_apple_layer, ("apple", "apple_num"), "apple_price"),
        (mul_orange_layer, ("orange", "orange_num"), "orange_price"),
        (add_apple_orange_layer, ("apple_price", "orange_price"), "all_price"),
        (mul_tax_layer, ("all_price", "tax"), "price"),
    ]
    values = {"apple": apple, "apple_num": apple_num, "orange": orange, "orange_num": orange_num, "tax": tax, **vars()}
    run.graph("price", plots.computational_graph(nodes, values, title="above: values, below: gradients"))


if __name__ == "__main__":
    start(main)
