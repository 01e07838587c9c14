"""DINOv2 (Oquab 2023) from KerasHub, such that what it learned about positions survives a file."""

from typing import Any

import keras
import keras_hub


@keras.saving.register_keras_serializable("tfpipe")
class Dinov2(keras_hub.models.DINOV2Backbone):
    """KerasHub's backbone with position embeddings of its own image size.

    KerasHub keeps them twice, for the size they were published in and for the images' own, trains the latter and saves
    the former: resized back with loss, or, if they became smaller in sum, as they were before. Here both have one size
    and are made equal before they are saved.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"position_embedding_shape": tuple(options["image_shape"])})

    def save_own_variables(self, store: Any) -> None:
        """Comes before the embeddings save theirs."""
        embeddings = self.embeddings
        embeddings.position_embeddings.assign(embeddings.interpolated_position_embeddings)
        super().save_own_variables(store)
