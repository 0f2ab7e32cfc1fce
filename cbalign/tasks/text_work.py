"""Computing the features of captions with a frozen text tower, as far as they are not on disk yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from cbalign.data.arrays import IntArray
from cbalign.data.batches import in_batches
from cbalign.data.feature_store import FeatureStore, HalfArray
from cbalign.data.items import Item
from cbalign.data.kept_texts import KeptTexts, encoded_captions, text_digests
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer
from cbalign.engine.distribution import World
from cbalign.errors import CbalignError
from cbalign.models.tower import KeptFeatures, TextTower
from cbalign.tasks.feature_work import FeatureWriter, Note

BATCH = 64


@dataclass(frozen=True)
class TextWork:
    """Completes the features of captions.

    Args:
        tower: frozen, on `world.device`.
        kept: what to keep of a caption.
        tokenizer: of the captions.
        store: where features are written.
        world: the processes that share the work.
        note: shows messages.
    """

    tower: TextTower
    kept: KeptFeatures
    tokenizer: Tokenizer
    store: FeatureStore
    world: World
    note: Note

    def complete(self, source: Source[Item]) -> KeptTexts:
        """Return the features of every caption of a source; those that are missing are computed.

        Raises:
            StorageError: they cannot be written, on any process.
        """
        missing: dict[bytes, IntArray] = {}
        for tokens in encoded_captions(source, self.tokenizer, range(len(source))):
            for digest, ids, mask in zip(text_digests(tokens), tokens.input_ids, tokens.attention_mask):
                if (digest, 0) not in self.store:
                    missing.setdefault(digest, ids[mask > 0])
        failure: CbalignError | None = None
        if missing:
            self.note(f"{source.name}: computing the features of {len(missing):,} captions once")
            try:
                self._compute(dict(list(missing.items())[self.world.rank :: self.world.size]))
            except CbalignError as error:  # the others must not wait for this process
                failure = error
        self.world.raise_first(failure)
        self.store.refresh()
        return KeptTexts(self.store)

    def _compute(self, missing: dict[bytes, IntArray]) -> None:
        writer = FeatureWriter(self.store, len(missing), self.world.size, "text tower")
        for batch in in_batches(missing.items(), BATCH):
            length = max(len(ids) for _, ids in batch)
            ids = np.full((len(batch), length), self.tokenizer.pad_id, np.int64)
            mask = np.zeros((len(batch), length), np.int64)
            for row, (_, own) in enumerate(batch):
                ids[row, : len(own)], mask[row, : len(own)] = own, 1
            input_ids, attention_mask = (torch.from_numpy(each).to(self.world.device) for each in (ids, mask))
            features = self.tower.compute_features(input_ids, attention_mask, self.kept)
            writer.add([(digest, 0) for digest, _ in batch], self._padded(features.cpu().numpy()))
        writer.flush()

    def _padded(self, features: HalfArray) -> HalfArray:
        """Tokens (B, L, D) padded to the maximum length; pooled vectors as they are."""
        if features.ndim == 2:
            return features
        missing = self.tokenizer.settings.max_tokens - features.shape[1]
        return np.pad(features, ((0, 0), (0, missing), (0, 0)))
