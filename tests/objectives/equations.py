"""The losses a second time: loops over numbers, straight from the equations, sharing nothing with the fast ones.

Vectors are lists of floats, matrices lists of rows; everything is float64.
"""

from __future__ import annotations

from math import atanh, exp, inf, log, tanh

Vector = list[float]
Matrix = list[list[float]]


def dot(a: Vector, b: Vector) -> float:
    total = 0.0
    for x, y in zip(a, b, strict=True):
        total += x * y
    return total


def softmax(logits: Vector) -> Vector:
    top = max(logits)
    weights = [exp(x - top) for x in logits]
    return [w / sum(weights) for w in weights]


def log_softmax(logits: Vector) -> Vector:
    top = max(logits)
    log_sum = top + log(sum(exp(x - top) for x in logits))
    return [x - log_sum for x in logits]


def cross_entropy(targets: Vector, logits: Vector) -> float:
    """H(targets, softmax(logits))."""
    total = 0.0
    for target, log_p in zip(targets, log_softmax(logits), strict=True):
        total -= target * log_p
    return total


def one_direction(
    anchors: Matrix, teacher: Matrix, keys: Matrix, positives: Matrix, temperature: float, alpha: float
) -> float:
    """One of the four terms of L_ica; `teacher` are the anchors' own modality by the teacher."""
    total = 0.0
    for i in range(len(anchors)):
        similarities = [dot(anchors[i], key) / temperature for key in keys]
        taught = softmax([dot(teacher[i], key) / temperature for key in keys])
        targets = [alpha * taught[j] + (1 - alpha) * positives[i][j] for j in range(len(keys))]
        total += cross_entropy(targets, similarities)
    return total / len(anchors)


def instance_alignment(
    v: Matrix,
    t: Matrix,
    teacher_v: Matrix,
    teacher_t: Matrix,
    image_queue: Matrix,
    text_queue: Matrix,
    positives: Matrix,
    temperature: float,
    alpha: float,
    intra_modal: bool,
    mean: bool,
) -> float:
    q_t = teacher_t + text_queue
    q_v = teacher_v + image_queue
    terms = [
        one_direction(v, teacher_v, q_t, positives, temperature, alpha),
        one_direction(t, teacher_t, q_v, positives, temperature, alpha),
    ]
    if intra_modal:
        terms.append(one_direction(v, teacher_v, q_v, positives, temperature, 0.0))
        terms.append(one_direction(t, teacher_t, q_t, positives, temperature, 0.0))
    return sum(terms) / len(terms) if mean else sum(terms)


def positives_by_image(image_ids: list[int], queue_ids: list[int]) -> Matrix:
    """All keys of the same image share one unit."""
    rows = []
    for own in image_ids:
        same = [1.0 if key == own else 0.0 for key in image_ids + queue_ids]
        rows.append([x / sum(same) for x in same])
    return rows


def positives_by_pair(batch: int, queue: int) -> Matrix:
    return [[1.0 if j == i else 0.0 for j in range(batch + queue)] for i in range(batch)]


def transport_costs(teacher: Matrix, prototypes: Matrix) -> Matrix:
    return [[1 - dot(z, c) for c in prototypes] for z in teacher]


def ipot(costs: Matrix, beta: float, iterations: int, inner: int) -> Matrix:
    n, k = len(costs), len(costs[0])
    a = [[exp(-costs[i][j] / beta) for j in range(k)] for i in range(n)]
    plan = [[1.0] * k for _ in range(n)]
    sigma = [1 / k] * k
    for _ in range(iterations):
        q = [[a[i][j] * plan[i][j] for j in range(k)] for i in range(n)]
        for _ in range(inner):
            delta = [(1 / n) / sum(q[i][j] * sigma[j] for j in range(k)) for i in range(n)]
            sigma = [(1 / k) / sum(q[i][j] * delta[i] for i in range(n)) for j in range(k)]
        plan = [[delta[i] * q[i][j] * sigma[j] for j in range(k)] for i in range(n)]
    return plan


def sinkhorn(costs: Matrix, epsilon: float, iterations: int) -> Matrix:
    n, k = len(costs), len(costs[0])
    a = [[exp(-costs[i][j] / epsilon) for j in range(k)] for i in range(n)]
    y = [1.0] * k
    for _ in range(iterations):
        x = [(1 / n) / sum(a[i][j] * y[j] for j in range(k)) for i in range(n)]
        y = [(1 / k) / sum(a[i][j] * x[i] for i in range(n)) for j in range(k)]
    return [[x[i] * a[i][j] * y[j] for j in range(k)] for i in range(n)]


def transport_loss(plan: Matrix, costs: Matrix) -> float:
    """<T, D>."""
    return sum(dot(row, cost) for row, cost in zip(plan, costs, strict=True))


def soft_codes(plan: Matrix) -> Matrix:
    return [[x / sum(row) for x in row] for row in plan]


def prediction_loss(student: Matrix, prototypes: Matrix, codes: Matrix, temperature: float) -> float:
    """H(T, P) with P = softmax(z C / τ)."""
    total = 0.0
    for z, target in zip(student, codes, strict=True):
        total += cross_entropy(target, [dot(z, c) / temperature for c in prototypes])
    return total / len(student)


def codebook_loss(
    v: Matrix,
    t: Matrix,
    image_plan: Matrix,
    text_plan: Matrix,
    teacher_v: Matrix,
    teacher_t: Matrix,
    prototypes: Matrix,
    temperature: float,
    target: str,
    first: int,
) -> tuple[float, float]:
    """(L_ot, L_t2p + L_i2p) for given plans, of which rows `first` … belong to this batch."""
    moved = transport_loss(image_plan, transport_costs(teacher_v, prototypes))
    moved += transport_loss(text_plan, transport_costs(teacher_t, prototypes))
    by_images = soft_codes(image_plan)[first : first + len(v)]
    by_texts = soft_codes(text_plan)[first : first + len(t)]
    if target == "cross":  # the image teacher teaches the text student and the reverse
        predicted = prediction_loss(t, prototypes, by_images, temperature)
        predicted += prediction_loss(v, prototypes, by_texts, temperature)
    elif target == "same":
        predicted = prediction_loss(v, prototypes, by_images, temperature)
        predicted += prediction_loss(t, prototypes, by_texts, temperature)
    else:  # the mean of both teachers
        predicted = 0.0
        for z in (v, t):
            predicted += prediction_loss(z, prototypes, by_images, temperature) / 2
            predicted += prediction_loss(z, prototypes, by_texts, temperature) / 2
    return moved, predicted


def matching_loss(logits: Matrix, fits: list[int], valid: list[bool]) -> float:
    total, count = 0.0, 0
    for row, label, counts in zip(logits, fits, valid, strict=True):
        if counts:
            total -= log_softmax(row)[label]
            count += 1
    return total / count


def negative_probabilities(similarities: Vector, positive: list[bool]) -> Vector:
    """With which probability each candidate is drawn; positives are masked before the softmax."""
    return softmax_of_some([-inf if own else s for s, own in zip(similarities, positive, strict=True)])


def softmax_of_some(logits: Vector) -> Vector:
    top = max(logits)
    weights = [0.0 if x == -inf else exp(x - top) for x in logits]
    return [w / sum(weights) for w in weights]


def distilled_losses(logits: Matrix, labels: list[int], teacher: Matrix | None, alpha: float) -> Vector:
    """(1-α) CE + α H(softmax(teacher), softmax(student)) of each row."""
    losses = []
    for i, (row, label) in enumerate(zip(logits, labels, strict=True)):
        hard = -log_softmax(row)[label]
        soft = 0.0 if teacher is None else cross_entropy(softmax(teacher[i]), row)
        losses.append(hard if teacher is None else (1 - alpha) * hard + alpha * soft)
    return losses


def entropy(probabilities: Vector) -> float:
    return -sum(p * log(p) for p in probabilities if p > 0)


def nearest(logits: Matrix) -> list[int]:
    return [row.index(max(row)) for row in logits]


def perplexity(codes: list[int]) -> float:
    return exp(entropy([codes.count(code) / len(codes) for code in set(codes)]))


def symmetric_contrast(v: Matrix, t: Matrix, positives: Matrix, temperature: float) -> float:
    """CLIP's loss of a whole batch; row i of `positives` has the sum one."""
    total = 0.0
    for i in range(len(v)):
        total += cross_entropy(positives[i], [dot(v[i], text) / temperature for text in t]) / 2
        total += cross_entropy(positives[i], [dot(t[i], image) / temperature for image in v]) / 2
    return total / len(v)


def sigmoid_contrast(v: Matrix, t: Matrix, ids: list[int] | None, scale: float, bias: float) -> float:
    """SigLIP's loss of a whole batch, whose positives have the same id; None: only the pairs themselves."""
    total = 0.0
    for i in range(len(v)):
        for j in range(len(t)):
            z = 1 if (i == j if ids is None else ids[i] == ids[j]) else -1
            total += log(1 + exp(-z * (scale * dot(v[i], t[j]) + bias)))
    return total / len(v)


def scaled_plan(
    costs: Matrix, weights: Vector, size: float, proximal: int, steps: int, relaxation: float | None, mass: float
) -> Matrix:
    """A plan by scaling with other marginals; what is not transported goes to a further code without cost."""
    weights = [mass * w for w in weights] + ([1 - mass] if mass < 1 else [])
    costs = [[*row, 0.0] if mass < 1 else list(row) for row in costs]
    n, codes = len(costs), len(weights)
    plan = [[1.0] * codes for _ in range(n)]
    sigma = [1.0] * codes
    for _ in range(proximal):
        q = [[exp(-costs[i][j] / size) * plan[i][j] for j in range(codes)] for i in range(n)]
        for _ in range(steps):
            delta = [1 / n / sum(q[i][j] * sigma[j] for j in range(codes)) for i in range(n)]
            for j in range(codes):
                sigma[j] = weights[j] / sum(q[i][j] * delta[i] for i in range(n))
                if relaxation is not None and not (mass < 1 and j == codes - 1):
                    sigma[j] = sigma[j] ** (relaxation / (relaxation + size))
        plan = [[delta[i] * q[i][j] * sigma[j] for j in range(codes)] for i in range(n)]
    rows = [sum(row) for row in plan]
    return [[plan[i][j] / rows[i] / n for j in range(codes)][: codes - (mass < 1)] for i in range(n)]


def centred(costs: Matrix, centre: Vector, temperature: float) -> Matrix:
    """Assignments by DINO's centring, each row a distribution."""
    return [softmax([(1 - d - c) / temperature for d, c in zip(row, centre, strict=True)]) for row in costs]


def swapped_prediction(
    one: Matrix, two: Matrix, q_one: Matrix, q_two: Matrix, prototypes: Matrix, temperature: float
) -> float:
    """SwAV's loss of a batch with given codes."""
    total = 0.0
    for i in range(len(one)):
        total += cross_entropy(q_two[i], [dot(one[i], c) / temperature for c in prototypes]) / 2
        total += cross_entropy(q_one[i], [dot(two[i], c) / temperature for c in prototypes]) / 2
    return total / len(one)


def running_average(sums: Matrix, features: Matrix, targets: Matrix, momentum: float) -> tuple[Matrix, Matrix]:
    """Running sums of the features of each code, and the unit prototypes that they give."""
    codes, size = len(sums), len(features)
    moved = []
    for j in range(codes):
        own = [sum(targets[i][j] * features[i][d] for i in range(size)) * codes / size for d in range(len(sums[j]))]
        moved.append([momentum * old + (1 - momentum) * new for old, new in zip(sums[j], own, strict=True)])
    return moved, [[x / dot(row, row) ** 0.5 for x in row] for row in moved]


def revival(prototypes: Matrix, dead: list[int], features: Matrix) -> list[int]:
    """The features to which dead codes move, one after the other: that whose nearest code is farthest away."""
    codes = [c for j, c in enumerate(prototypes) if j not in dead]
    places: list[int] = []
    for _ in range(min(len(dead), len(features))):
        fits = [max([dot(z, c) for c in codes], default=-1.0) for z in features]
        place = min((i for i in range(len(features)) if i not in places), key=lambda i: fits[i])
        places.append(place)
        codes.append(features[place])
    return places


def quantisation_loss(features: Matrix, codes: Matrix, commitment: float) -> float:
    """VQ-VAE's second and third term, with the given code of each feature."""
    total = 0.0
    for z, c in zip(features, codes, strict=True):
        total += (1 + commitment) * sum((x - y) ** 2 for x, y in zip(z, c, strict=True))
    return total / len(features)


def round_to_level(number: float, levels: int) -> float:
    """FSQ of one number."""
    half = (levels - 1) * 1.001 / 2
    offset = 0.5 if levels % 2 == 0 else 0.0
    bounded = tanh(number + atanh(offset / half)) * half - offset
    return round(bounded) / (levels // 2)


def local_contrast(
    whole: Matrix, parts: list[Matrix], inside: list[list[bool]], own: list[list[bool]], temperature: float
) -> float:
    """TCL's local term: each part of an item among the parts of all other items."""
    means = []
    for i, z in enumerate(whole):
        others = [
            dot(z, parts[k][j]) / temperature
            for k in range(len(whole))
            for j in range(len(parts[k]))
            if inside[k][j] and not own[i][k]
        ]
        logits = [[dot(z, part) / temperature, *others] for part, real in zip(parts[i], inside[i], strict=True) if real]
        losses = [-log_softmax(row)[0] for row in logits]
        if losses:
            means.append(sum(losses) / len(losses))
    return sum(means) / max(1, len(means))


def token_transport(words: Matrix, patches: Matrix, beta: float, iterations: int) -> float:
    """<T, D> of the words of one caption, without padding, and the patches of one image."""
    costs = transport_costs(words, patches)
    uniform = [1 / len(patches)] * len(patches)
    plan = scaled_plan(costs, uniform, beta, iterations, 1, None, 1.0)
    return sum(t * d for row, of in zip(plan, costs, strict=True) for t, d in zip(row, of, strict=True))
