import neuralnet_mnist


def train(images=40000):
    return neuralnet_mnist.train(images, batch_size=100)


if __name__ == "__main__":
    print(sum(train()))
