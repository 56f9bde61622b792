"""Front-ends of published networks, as their own code computes them at evaluation of one clip."""

#: Settings of ``frami.mel.MelSpec`` by name, each read off the named source.
PRESETS = {
    # Cnn14 and others of 32 kHz: qiuqiangkong/audioset_tagging_cnn, pytorch/models.py, and torchlibrosa's transforms.
    "panns": {
        "sample_rate": 32_000, "n_fft": 1024, "hop_length": 320, "n_mels": 64, "f_min": 50.0, "f_max": 14_000.0,
        "clamp": 1e-10, "padding": "reflect", "power": 2, "compression": "db",
    },
    # fschmid56/EfficientAT, models/preprocess.py: AugmentMelSTFT. Its f_max is half the sample rate less 1 kHz.
    "efficientat": {
        "sample_rate": 32_000, "n_fft": 1024, "hop_length": 320, "n_mels": 128, "f_min": 0.0, "f_max": 15_000.0,
        "clamp": 1e-5, "clamping": "add", "win_length": 800, "window": "hann-symmetric", "padding": "reflect",
        "preemphasis": 0.97, "power": 2, "mel_scale": "kaldi", "mel_norm": "none", "shift": 4.5, "scale": 5.0,
    },
    # ECAPA-TDNN and others: speechbrain/lobes/features.py, Fbank, and InputNormalization of sentences without std_norm.
    "speechbrain": {
        "sample_rate": 16_000, "n_fft": 400, "hop_length": 160, "n_mels": 80, "f_min": 0.0, "f_max": 8_000.0,
        "clamp": 1e-10, "window": "hamming", "padding": "zeros", "power": 2, "mel_scale": "speechbrain",
        "mel_norm": "none", "compression": "db", "top_db": 80.0, "remove_mean": True,
    },
    # tensorflow/models, research/audioset/yamnet: params.py, features.py, with tf.signal's transforms.
    "yamnet": {
        "sample_rate": 16_000, "n_fft": 512, "hop_length": 160, "n_mels": 64, "f_min": 125.0, "f_max": 7_500.0,
        "clamp": 1e-3, "clamping": "add", "win_length": 400, "padding": "snip", "mel_scale": "kaldi",
        "mel_norm": "none",
    },
    # transformers, ASTFeatureExtractor: torchaudio.compliance.kaldi.fbank of floats at full scale 1.
    "ast": {
        "sample_rate": 16_000, "n_fft": 512, "hop_length": 160, "n_mels": 128, "f_min": 20.0, "f_max": 8_000.0,
        "clamp": 2.0**-23, "win_length": 400, "window": "hann-symmetric", "padding": "snip", "preemphasis": 0.97,
        "preemphasis_of": "frame", "remove_dc": True, "power": 2, "mel_scale": "kaldi", "mel_norm": "none",
        "shift": 4.2677393, "scale": 2 * 4.5689974,
    },
    # RicherMans/CED, models/audiotransformer.py: FrontEnd, torchaudio's MelSpectrogram and AmplitudeToDB.
    "ced": {
        "sample_rate": 16_000, "n_fft": 512, "hop_length": 160, "n_mels": 64, "f_min": 0.0, "f_max": 8_000.0,
        "clamp": 1e-10, "padding": "reflect", "power": 2, "mel_scale": "htk", "mel_norm": "none", "compression": "db",
        "top_db": 120.0,
    },
}  # fmt: skip
